"""Which of torch's settings for fp32 products a CPU is given."""

from __future__ import annotations

import torch

MEDIUM_ERROR = 2.0
"""'medium' products are taken when their error against float64 is at most this many times that of the default."""


def medium_is_exact() -> bool:
    """Whether 'medium' fp32 products are true fp32 on this CPU (they are faster on some, bf16 on those with AMX)."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    before = torch.get_float32_matmul_precision()
    errors = []
    for setting in ("highest", "medium"):
        torch.set_float32_matmul_precision(setting)
        errors.append(float((left @ right - exact).abs().max()))
    torch.set_float32_matmul_precision(before)
    return errors[1] <= MEDIUM_ERROR * errors[0]
