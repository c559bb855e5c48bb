"""Study and runs: planned, executed, and what the other verbs do."""
