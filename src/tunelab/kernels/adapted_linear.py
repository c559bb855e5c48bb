"""A linear layer with a frozen weight and a trained low-rank update: y = x W^T + b + s (x A^T) B^T.

One autograd function keeps only the layer's input and x A^T, and adds the low-rank term into the product in place,
so an adapted layer makes no temporary of the output's size. W + s B A is never formed for training: in bf16 it would
round small updates away. A quantised W is dequantised in the forward pass and again in the backward pass.
"""
# B batch, T tokens, N = B * T, I in, O out, R rank

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Weight = Callable[[], Tensor]
"""Gives the frozen weight, shape (O, I), in the dtype of the product: the stored tensor, or a dequantised copy."""


class Dropout(NamedTuple):
    """Which inputs of the low-rank branch are dropped. Drawn again in the backward pass, so that no copy is kept."""

    share: float
    key: int

    def __call__(self, x_NI: Tensor) -> Tensor:
        """Factors of x's shape: 0 where dropped, else 1 / (1 - share), so that the mean stays."""
        generator = torch.Generator(x_NI.device).manual_seed(self.key)
        keep = 1.0 - self.share
        return torch.empty_like(x_NI).bernoulli_(keep, generator=generator).div_(keep)


class _LowRankLinear(torch.autograd.Function):
    """Frozen W (O, I) and bias; gradients for x, A and B only."""

    @staticmethod
    def forward(
        ctx, x_NI: Tensor, weight: Weight, bias_O, a_RI: Tensor, b_OR: Tensor, scale: float, dropout: Dropout | None
    ) -> Tensor:
        low_NR = (x_NI if dropout is None else dropout(x_NI).mul_(x_NI)) @ a_RI.t()
        y_NO = F.linear(x_NI, weight(), bias_O)
        y_NO.addmm_(low_NR, b_OR.t(), alpha=scale)
        ctx.save_for_backward(x_NI, low_NR, a_RI, b_OR)
        ctx.weight, ctx.scale, ctx.dropout = weight, scale, dropout
        return y_NO

    @staticmethod
    def backward(ctx, grad_NO: Tensor):
        x_NI, low_NR, a_RI, b_OR = ctx.saved_tensors
        grad_low_NR = (grad_NO @ b_OR).mul_(ctx.scale)
        factor_NI = None if ctx.dropout is None else ctx.dropout(x_NI)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_NO @ ctx.weight()
            if factor_NI is None:
                grad_x.addmm_(grad_low_NR, a_RI)
            else:
                grad_x.add_((grad_low_NR @ a_RI).mul_(factor_NI))
        grad_a = grad_low_NR.t() @ (x_NI if factor_NI is None else factor_NI.mul_(x_NI))
        grad_b = (grad_NO.t() @ low_NR).mul_(ctx.scale)
        return grad_x, None, None, grad_a, grad_b, None, None


class AdaptedLinear(nn.Module):
    """Replaces one linear layer; the base weight and bias are frozen and keep their storage.

    The base is nn.Linear, GPT-2's Conv1D (`transposed`: its weight lies as (I, O)), or a quantised layer, which has
    `dense(dtype)` in place of a float weight.
    """

    def __init__(
        self, base: nn.Module, *, lora_A: Tensor, lora_B: Tensor, scale: float, dropout: float, transposed: bool
    ) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(lora_A)
        """(R, I)"""
        self.lora_B = nn.Parameter(lora_B)
        """(O, R)"""
        self.scale = scale
        self.dropout = dropout
        self.transposed = transposed

    @property
    def weight(self) -> Tensor:
        """The base weight as it lies; some models read `layer.weight.dtype`."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def delta(self) -> Tensor:
        """s B A in fp32, in the layout of the base weight."""
        delta_OI = self.scale * (self.lora_B.float() @ self.lora_A.float())
        return delta_OI.t() if self.transposed else delta_OI

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The frozen weight, shape (O, I)."""
        if hasattr(self.base, "dense"):
            return self.base.dense(dtype)
        return (self.weight.t() if self.transposed else self.weight).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):
            x_NI = x.reshape(-1, x.shape[-1]).to(dtype)
            bias_O = None if self.bias is None else self.bias.to(dtype)
            a_RI, b_OR = self.lora_A.to(dtype), self.lora_B.to(dtype)
            dropout = None
            if self.dropout and self.training:
                dropout = Dropout(self.dropout, int(torch.randint(2**62, ())))
            y_NO = _LowRankLinear.apply(x_NI, lambda: self.dense(dtype), bias_O, a_RI, b_OR, self.scale, dropout)
            return y_NO.view(*x.shape[:-1], y_NO.shape[-1])
