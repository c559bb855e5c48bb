"""What stands twice: in train and test, or in train alone."""
