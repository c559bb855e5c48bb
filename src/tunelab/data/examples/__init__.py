"""Rows -> examples: prompt, target, turns, splits."""
