"""What rows that nobody has described mean, and the study that `tunelab init` writes for them."""
