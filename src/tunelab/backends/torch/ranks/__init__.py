"""One session over several processes."""
