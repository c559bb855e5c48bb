"""Verbs of the command line that need not stand in cli.py."""
