"""What the command line does beside `run`: a file a verb."""
