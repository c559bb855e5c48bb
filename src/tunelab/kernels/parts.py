"""Low-rank factors of some rows of a fused layer, as microsoft/LoRA's MergedLinear has them: each part its own A and B.

Put together they are one A and one B of the whole layer, with zeros where a part of B is not in its own rows: the
layer's product and PEFT's format need nothing else.
"""
# I in, O out, R rank, P rows of a part

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Factors(NamedTuple):
    a_RI: Tensor
    b_OR: Tensor


class Part(nn.Module):
    """The factors of the rows `rows`; it is never called."""

    lora_A: nn.Parameter
    """(R, I)"""
    lora_B: nn.Parameter
    """(P, R)"""

    def __init__(self, rows: slice, *, lora_A: Tensor, lora_B: Tensor, share: float) -> None:
        """`share`: this part's scale as a multiple of its layer's."""
        super().__init__()
        self.rows, self.share = rows, share
        self.lora_A, self.lora_B = nn.Parameter(lora_A), nn.Parameter(lora_B)

    def extra_repr(self) -> str:
        return f"rows {self.rows.start} to {self.rows.stop}"


def together(parts: Iterable[Part], *, outputs: int) -> Factors:
    """A (sum of R, I) and B (O, sum of R) that add what the parts add; gradients flow to each part's own values."""
    parts = list(parts)
    blocks = [F.pad(_scaled(part), (0, 0, part.rows.start, outputs - part.rows.stop)) for part in parts]
    return Factors(torch.cat([part.lora_A for part in parts]), torch.cat(blocks, dim=1))


def apart(parts: Iterable[Part], factors: Factors) -> bool:
    """Put what `together` gave into the parts. False, with nothing changed: B is not zero outside the parts' rows."""
    parts = list(parts)
    widths = [len(part.lora_A) for part in parts]
    columns = factors.b_OR.split(widths, dim=1)
    for part, own in zip(parts, columns, strict=True):
        if own[: part.rows.start].any() or own[part.rows.stop :].any():
            return False
    with torch.no_grad():
        for part, a_RI, own in zip(parts, factors.a_RI.split(widths), columns, strict=True):
            part.lora_A.copy_(a_RI)
            part.lora_B.copy_(own[part.rows] / part.share)
    return True


def _scaled(part: Part) -> Tensor:
    return part.lora_B if part.share == 1.0 else part.lora_B * part.share
