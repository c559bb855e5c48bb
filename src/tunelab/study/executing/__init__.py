"""One run from start to result, and a saved one opened again."""
