"""Optimizers over any tensors, which the rules of training are made of."""
