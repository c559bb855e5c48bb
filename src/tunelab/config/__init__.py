"""What a study file may say, and what is wrong with it, with file and line."""
