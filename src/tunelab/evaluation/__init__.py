"""Scores from text and from token losses, their intervals and tests. No torch."""
