"""tunelab fine-tunes one language model every way that fits, on your task, and tells which way to keep."""

__version__ = "0.1.0"
