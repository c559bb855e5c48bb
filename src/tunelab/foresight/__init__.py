"""What a study will need, told before it starts: memory by part, and which methods fit."""
