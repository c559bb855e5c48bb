"""Frameworks that can train: a folder each, listed by the catalogue."""
