"""What can be said of scores: intervals, and which methods are as good as the best."""
