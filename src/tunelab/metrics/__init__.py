"""Scores: one file each, the file is the public name."""
