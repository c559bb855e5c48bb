"""What stands twice: in two splits, or in train alone."""
