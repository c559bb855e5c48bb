"""What is looked at before step 1, and factors that start from it."""
