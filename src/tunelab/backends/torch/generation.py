"""The model that generates: adapters folded into an fp32 copy of the weights, so that text comes as fast as the base's.

Never into bf16: a small update rounds away there, weights and sum alike. A quantised base generates as it is, with its
adapters beside it: unfolding it would take the memory that it is there to save.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from tunelab import device
from tunelab.contracts import Method
from tunelab.models.inference import out_of_memory

GENERATION_BATCH = 4
"""A generation batch may hold this many times batch.max_tokens: it keeps no activations."""


def folded(model: Any, method: Method | None, notes: list[str]) -> Any:
    """Plain fp32 weights, or the model itself: where its base is quantised, or where there is no memory for a copy."""
    if method is not None and method.base_storage != "float":
        return model
    try:
        plain: Any = model if method is None else method.merged(model)
        if any(parameter.dtype != torch.float32 for parameter in plain.parameters()):
            plain = (copy.deepcopy(plain) if plain is model else plain).to(torch.float32)
        return plain
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    device.release(model.device)
    notes.append("no memory for an fp32 copy of the weights: text was generated through the adapters, more slowly")
    return model
