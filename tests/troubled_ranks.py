"""Methods that trouble one rank of two: memory runs out there, or a gradient overflows; for tests' processes."""

import math
from typing import Any

import torch

from tunelab.methods.galore import Galore
from tunelab.methods.lora import Lora
from tunelab.training.ranks import rank

MOST = 64
"""Tokens of a micro-batch that fit: documents in one row are filled up to 64 at least."""
OVERFLOWS = 3


def limit(model: Any) -> Any:
    def forward(module: Any, args: Any, given: dict[str, Any]) -> None:
        if module.training and rank() == 1 and given["input_ids"].numel() > MOST:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    model.register_forward_pre_hook(forward, with_kwargs=True)
    return model


class ShortLora(Lora):
    def attach(self, model: Any, *, seed: int) -> Any:
        return limit(super().attach(model, seed=seed))


class ShortGalore(Galore):
    def attach(self, model: Any, *, seed: int) -> Any:
        return limit(super().attach(model, seed=seed))


class OverflowingLora(Lora):
    """The first gradients of one factor on one rank: those that reach its `.grad`, not those only looked at before."""

    def attach(self, model: Any, *, seed: int) -> Any:
        model, seen = super().attach(model, seed=seed), []

        def hook(parameter: torch.Tensor) -> None:
            seen.append(1)
            if rank() == 1 and len(seen) <= OVERFLOWS:
                parameter.grad.mul_(math.inf)

        next(p for name, p in model.named_parameters() if name.endswith("lora_B")).register_post_accumulate_grad_hook(
            hook
        )
        return model
