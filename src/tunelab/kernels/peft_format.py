"""PEFT's names for low-rank factors on disk, and what its configuration is told of them. No framework is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunelab.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

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


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json; empty where there is none.

    Raises:
        ModelError: it is damaged.
    """
    file = folder / CONFIG
    try:
        saved = json.loads(file.read_bytes()) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        saved = None
    if not isinstance(saved, dict):
        raise ModelError(f"{file}: no JSON object; it is damaged, so get the adapter again")
    return saved


def read_tensors(file: Path) -> dict[str, Tensor]:
    """
    Raises:
        ModelError: no whole safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise ModelError(f"{file}: no whole safetensors file ({reason}); it is damaged, so get it again") from None


def shortest_names(layers: Iterable[str], chosen: list[str]) -> list[str]:
    """Leaf names where they say exactly `chosen`, else whole module paths (PEFT's `target_modules`)."""
    leaves = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    if {name for name in layers if name.rsplit(".", 1)[-1] in leaves} <= set(chosen):
        return leaves
    return sorted(chosen)
