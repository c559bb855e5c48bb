"""What a run will need, told before it starts: the real session, followed over tensors without numbers."""
