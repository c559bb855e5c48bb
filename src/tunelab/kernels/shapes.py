"""Tensors that have a shape and no numbers: what a run will need is told by following it over them."""

from __future__ import annotations

from torch import Tensor


def has_numbers(tensor: Tensor) -> bool:
    """False on the meta device and of fake tensors: code that reads memory itself must ask."""
    return tensor.device.type != "meta" and type(tensor).__name__ != "FakeTensor"
