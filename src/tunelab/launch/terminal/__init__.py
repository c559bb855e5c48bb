"""What is seen while something goes on, and texts that fit a terminal."""
