"""Processes: a study is run, seen and reported."""
