"""Python: the functions of `import tunelab`, and their results as tables."""
