"""PEFT's names for low-rank factors on disk, and what its configuration is told of them. No framework is imported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PREFIX = "base_model.model."
HALVES = ("lora_A", "lora_B")
CHANGE_BASE = ("pissa", "olora", "lora_ga")
"""Our starts that take s B0 A0 out of the base: saved for the untouched one, with twice the rank."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class WrittenLayer(NamedTuple):
    """What a saved adapter has of a layer."""

    rank: int
    """Parts' ranks together."""
    scale: float
    transposed: bool
    parted: bool


def shortest_names(layers: Iterable[str], chosen: list[str]) -> list[str]:
    """Leaf names where they say exactly `chosen`, else whole module paths (PEFT's `target_modules`)."""
    leaves = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    if {name for name in layers if name.rsplit(".", 1)[-1] in leaves} <= set(chosen):
        return leaves
    return sorted(chosen)
