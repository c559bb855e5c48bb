"""Ways to fine-tune: one file each, the file is the public name."""
