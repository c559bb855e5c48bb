"""Combining what several runs changed in one weight of one base: weighted sums, TIES and DARE.

A task vector is trained weight minus base weight (Ilharco et al. 2023, arXiv:2212.04089). All in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tunelab.kernels.initial import generator


def weighted_sum(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The sum of weight * delta; all of one shape."""
    total = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights, strict=True):
        total.add_(delta, alpha=weight)
    return total


def trim(delta: Tensor, *, density: float) -> Tensor:
    """The `density` share of largest magnitude, the rest 0. At least one entry is kept."""
    kept = max(1, math.floor(density * delta.numel()))
    chosen = delta.abs().flatten().topk(kept).indices
    trimmed = torch.zeros_like(delta)
    trimmed.view(-1)[chosen] = delta.flatten()[chosen]
    return trimmed


def ties(deltas: Sequence[Tensor], weights: Sequence[float], *, density: float) -> Tensor:
    """Trim, elect a sign, and average those that agree with it (Yadav et al. 2023, arXiv:2306.01708).

    The sign is that of the sum of trimmed deltas. Each entry is the sum of weight * delta over the deltas of that
    sign, divided by how many those are. Trimmed a matrix at a time, as PEFT does; the paper trims all weights at once.
    """
    trimmed = torch.stack([trim(delta, density=density) for delta in deltas])
    # Zero where they cancel: the paper leaves that open, PEFT and the authors' code take the positive ones.
    elected = torch.where(trimmed.sum(0) >= 0, 1.0, -1.0)
    agreeing = trimmed * elected > 0
    factors = torch.tensor(weights, dtype=trimmed.dtype, device=trimmed.device).view(-1, *[1] * (trimmed.ndim - 1))
    return (trimmed * agreeing * factors).sum(0) / agreeing.sum(0).clamp(min=1)


def drop(delta: Tensor, *, density: float, seed: int, name: str) -> Tensor:
    """DARE (Yu et al. 2024, arXiv:2311.03099): each entry is kept with probability `density` and then divided by it,
    so that the mean stays. Drawn by a generator keyed by (seed, name)."""
    kept = generator(seed=seed, name=name).random(tuple(delta.shape)) < density
    return delta * torch.from_numpy(kept).to(delta.device) / density
