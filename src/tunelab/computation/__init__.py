"""What work is made of, whichever device does it."""
