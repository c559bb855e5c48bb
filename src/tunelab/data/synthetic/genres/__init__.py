"""Kinds of pretraining text: one file a kind, each with `document(rng) -> str` in wordings that no task uses."""
