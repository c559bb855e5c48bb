"""Parts of layers that no product is in: gated activations, RMS norms, rotary positions.

As a model's own code writes them each is three to six passes over tensors that fit no cache, and most of them are kept
for the backward pass. Here each is one function that goes through a block of rows at a time and keeps its inputs alone.
"""
# N rows, W width, H hidden size, D of a head, B batch, A heads, T tokens

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 2**17
"""Numbers of a block's tensor: half a megabyte in fp32."""


class Activation(NamedTuple):
    """Of a gate: an element's value and derivative."""

    name: str
    approximate: str | None
    """Of GELU; None: SiLU."""

    def __call__(self, gate: Tensor) -> Tensor:
        if self.approximate is None:
            return torch.nn.functional.silu(gate)
        return torch.nn.functional.gelu(gate, approximate=self.approximate)

    def into(self, gate: Tensor, out: Tensor) -> Tensor:
        if self.approximate is None:
            return torch.ops.aten.silu.out(gate, out=out)
        return torch.ops.aten.gelu.out(gate, approximate=self.approximate, out=out)

    def gradient(self, grad: Tensor, gate: Tensor, out: Tensor) -> Tensor:
        if self.approximate is None:
            return torch.ops.aten.silu_backward.grad_input(grad, gate, grad_input=out)
        return torch.ops.aten.gelu_backward.grad_input(grad, gate, approximate=self.approximate, grad_input=out)


ACTIVATIONS = (Activation("silu", None), Activation("gelu", "none"), Activation("gelu_tanh", "tanh"))


def gated(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    """activation(gate) * up, of their shape (..., W); differentiable in both."""
    if gate.dtype != up.dtype:
        return activation(gate) * up
    return _Gated.apply(gate, up, activation)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        out = up.new_empty(up.shape)
        for gate_NW, up_NW, out_NW in _blocks(gate, up, out):
            activation.into(gate_NW, out_NW).mul_(up_NW)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        gate, up = ctx.saved_tensors
        grad_gate, grad_up = gate.new_empty(gate.shape), up.new_empty(up.shape)
        for grad_NW, gate_NW, up_NW, to_gate_NW, to_up_NW in _blocks(grad, gate, up, grad_gate, grad_up):
            ctx.activation.into(gate_NW, to_up_NW).mul_(grad_NW)
            ctx.activation.gradient(grad_NW * up_NW, gate_NW, to_gate_NW)
        return grad_gate, grad_up, None


def rms_norm(x: Tensor, weight_H: Tensor, eps: float) -> Tensor:
    """weight * x / sqrt(mean(x^2) + eps), shape (..., H); in fp32 until the weight is multiplied, as LLaMA has it, and
    differentiable in both. Under autocast it is rounded to the products' type here: each product that reads it would
    do that by itself, and keep a copy of its own."""
    device = x.device.type
    narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return _RmsNorm.apply(x, weight_H, eps, narrow)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight_H: Tensor, eps: float, narrow: torch.dtype | None) -> Tensor:
        inverse_N1 = x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
        out = x.new_empty(x.shape, dtype=narrow or torch.promote_types(x.dtype, weight_H.dtype))
        for x_NH, inverse, out_NH in _blocks(x, inverse_N1, out):
            wide_NH = x_NH.float()
            torch.linalg.vector_norm(wide_NH, dim=-1, keepdim=True, out=inverse)
            inverse.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
            torch.mul((wide_NH * inverse).to(x.dtype), weight_H, out=out_NH)
        ctx.save_for_backward(x, weight_H, inverse_N1)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight_H, inverse_N1 = ctx.saved_tensors
        grad_x = x.new_empty(x.shape)
        grad_weight = torch.zeros_like(weight_H, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for grad_NH, x_NH, inverse, to_x_NH in _blocks(grad, x, inverse_N1, grad_x):
            normed_NH = x_NH * inverse  # fp32
            if grad_weight is not None:
                grad_weight += (grad_NH * normed_NH).sum(0)
            scaled_NH = grad_NH * weight_H.float()
            share_N1 = (scaled_NH * normed_NH).mean(-1, keepdim=True)
            to_x_NH.copy_(scaled_NH.addcmul_(normed_NH, share_N1, value=-1.0).mul_(inverse))
        return grad_x, None if grad_weight is None else grad_weight.to(weight_H.dtype), None, None


def rotated(x_BATD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor, heads_at: int = 1) -> Tensor:
    """Rotary positions as LLaMA has them: the first half of a head's numbers with its second. Differentiable in x.

    Args:
        heads_at: which dimension of x is that of heads.
    """
    return _Rotated.apply(x_BATD, cos_BTD.unsqueeze(heads_at), sin_BTD.unsqueeze(heads_at))


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        half = x.shape[-1] // 2
        out = x * cos
        out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1.0)
        out[..., half:].addcmul_(x[..., :half], sin[..., half:])
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        cos, sin = ctx.saved_tensors
        half = grad.shape[-1] // 2
        out = grad * cos
        out[..., :half].addcmul_(grad[..., half:], sin[..., half:])
        out[..., half:].addcmul_(grad[..., :half], sin[..., :half], value=-1.0)
        return out, None, None


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of each. One that is written is contiguous (`new_empty`), else this would be a copy of it."""
    flat = [tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors]
    rows = max(1, BLOCK // flat[0].shape[-1])
    for start in range(0, len(flat[0]), rows):
        yield tuple(each[start : start + rows] for each in flat)
