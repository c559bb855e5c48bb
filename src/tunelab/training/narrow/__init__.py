"""Training in 16 bits: the loss scale of fp16, weights that are held in bf16."""
