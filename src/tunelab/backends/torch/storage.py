"""How a model's weights are held while a method trains it, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tunelab.records import ParameterCount
from tunelab.training.narrow.rounding import SEED
from tunelab.training.ranks import rank, whole

NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions of products beside fp32, by name."""


def parameter_count(model: torch.nn.Module) -> ParameterCount:
    """Tied parameters once; a quantised layer's weights, which are no parameters any more, as many as they were."""
    parameters = list(model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    quantised = sum(getattr(module, "quantised_weights", 0) for module in model.modules())
    return ParameterCount(trained, sum(parameter.numel() for parameter in parameters) + quantised)


def set_storage(model: torch.nn.Module, *, precision: str, weights: str = "fp32", seed: int = 0) -> None:
    """Frozen matrices in the precision of the products, trained ones in that of `weights`, vectors in fp32 always. By
    the seed trained ones are rounded at random."""
    setattr(model, SEED, seed)
    # a piece of the file that stays would keep all of it in memory, beside what the other tensors have become
    become = precision != "fp32" or any(getattr(module, "quantised_weights", 0) for module in model.modules())
    for parameter in model.parameters():
        is_trained, is_vector = parameter.requires_grad, parameter.ndim < 2
        held = torch.float32 if is_vector else NARROW.get(weights if is_trained else precision, torch.float32)
        if parameter.is_floating_point():
            copy = become and parameter.device.type == "cpu" and (is_vector or not is_trained)
            parameter.data = parameter.data.to(held, copy=copy)


def write_tensors(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """As safetensors, whole ones whatever the number of ranks. Every rank must come where a tensor is cut over ranks;
    rank 0 writes, and has in the host's memory what it writes."""
    from safetensors.torch import save_file

    held = {}
    for key, value in tensors.items():
        value = whole(value.detach())
        if rank() == 0:
            held[key] = value.cpu().contiguous()
    if rank() == 0:
        save_file(held, file)
