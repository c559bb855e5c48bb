"""What a run will need, told before it starts: the real session, followed over tensors that have shapes and no numbers."""
