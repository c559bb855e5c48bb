"""Records -> one table with intervals, tests and a verdict. Reads nothing but records."""
