"""Energy that a machine's own counters have measured."""
