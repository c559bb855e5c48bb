"""What is learned and scored: one file each, the file is the public name."""
