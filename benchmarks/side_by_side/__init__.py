"""Tunelab beside its peers on the same work; `benchmarks/peers.py` drives it."""
