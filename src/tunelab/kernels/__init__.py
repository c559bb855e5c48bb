"""Layers and products of our own: adapters, sparse values, projections, the loss."""
