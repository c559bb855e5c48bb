"""Linear layers whose weight is held in 8 bits and trained there, without a float copy of it.

A gradient's step is added to a dequantised copy of one layer, which is rounded back at random, so that the mean of
many small steps is kept although each is smaller than a code (as Q-GaLore, Zhang et al. 2024, arXiv:2407.08296).
"""
# N rows of the input, I in, O out

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 256
"""Weights that share one scale."""
AT_ONCE = 1024 * BLOCK
"""Weights that are rounded together while a model is read."""
LARGEST = 127


class _Int8Product(torch.autograd.Function):
    """Dequantises in the forward pass and again in the backward pass; hands the weight's gradient to the layer."""

    @staticmethod
    def forward(ctx, x_NI: Tensor, bias_O: Tensor | None, layer: Int8Linear, anchor: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_NI)
        ctx.layer = layer
        return F.linear(x_NI, layer.dense(x_NI.dtype), bias_O)

    @staticmethod
    def backward(ctx, grad_NO: Tensor):
        (x_NI,) = ctx.saved_tensors
        if ctx.layer.take is not None:
            ctx.layer.take((grad_NO.t() @ x_NI).float())
        grad_x = grad_NO @ ctx.layer.dense(grad_NO.dtype) if ctx.needs_input_grad[0] else None
        return grad_x, grad_NO.sum(0) if ctx.needs_input_grad[1] else None, None, None


class Int8Linear(nn.Module):
    """y = x W^T + b with W (O, I) as int8 codes and an fp32 scale for each block of them.

    Takes the place of nn.Linear or of GPT-2's Conv1D (`transposed`). Rounding draws depend on (key, number of moves)
    alone. `watch` and `move` are what training through projected gradients asks of a weight.
    """

    dtype = torch.float32
    """Of the gradients it gives and the weight it is moved as."""

    trains_codes = True
    """What the layer computes changes in training, though it has no parameter for it."""
    codes: Tensor
    scales: Tensor
    num_moves: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: Any, *, transposed: bool, key: int) -> None:
        super().__init__()
        weight_OI = (layer.weight.t() if transposed else layer.weight).detach().float()
        outputs, inputs = weight_OI.shape
        self.shape, self.transposed, self.key = (outputs, inputs), transposed, key
        self.bias = layer.bias
        codes, scales = quantise(weight_OI, draw=None)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("num_moves", torch.zeros((), dtype=torch.int64))
        self.take: Callable[[Tensor], None] | None = None

    def hold(self, weight_OI: Tensor) -> None:
        """This weight, contiguous, rounded to the nearest codes, in place of the present one."""
        pieces = [quantise(piece.float(), draw=None) for piece in weight_OI.view(-1).split(AT_ONCE)]
        self.codes, self.scales = (torch.cat(parts) for parts in zip(*pieces, strict=True))

    def __getstate__(self) -> dict:
        """A copy is not trained along with the layer."""
        return {**self.__dict__, "take": None}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int8Linear:
        """Moves between devices; the count stays where a draw's seed is made of it without waiting for a GPU."""
        counted = self.num_moves
        super()._apply(fn, recurse)
        if "meta" not in (counted.device.type, self.num_moves.device.type):
            self.num_moves = counted
        return self

    @property
    def quantised_weights(self) -> int:
        """How many weights the codes stand for."""
        return self.shape[0] * self.shape[1]

    @property
    def weight(self) -> None:
        """There is no float weight to read a dtype from."""
        return None

    @property
    def device(self) -> torch.device:
        return self.codes.device

    def dense(self, dtype: torch.dtype) -> Tensor:
        """A fresh copy of the weight, shape (O, I)."""
        flat = (_blocks(self.codes) * self.scales[:, None]).flatten()
        return flat[: self.quantised_weights].view(self.shape).to(dtype)

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        """Hand every gradient (O, I) to `take`; returns what ends this."""

        def end() -> None:
            if self.take == take:
                self.take = None

        self.take = take
        return end

    def move(self, change: Callable[[Tensor], None], *, number: int = 0) -> None:
        """Let `change` work on a float copy of the weight (O, I), then round that at random into the codes. Moves are
        counted here: `number` is not needed."""
        with torch.no_grad():
            weight_OI = self.dense(self.dtype)
            change(weight_OI)
            self.num_moves += 1
            seed = np.random.SeedSequence([self.key, int(self.num_moves)]).generate_state(1, np.uint64)[0] >> 1
            codes, scales = quantise(weight_OI, draw=torch.Generator(self.device).manual_seed(int(seed)))
            self.codes.copy_(codes)
            self.scales.copy_(scales)

    def plain(self) -> nn.Module:
        """A float layer of the kind that this one took the place of, computing the same."""
        from transformers.pytorch_utils import Conv1D

        outputs, inputs = self.shape
        weight_OI = self.dense(torch.float32)
        layer = Conv1D(outputs, inputs) if self.transposed else nn.Linear(inputs, outputs, bias=self.bias is not None)
        layer.weight = nn.Parameter(weight_OI.t().contiguous() if self.transposed else weight_OI)
        layer.register_parameter("bias", self.bias)
        return layer.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):
            x_NI = x.reshape(-1, x.shape[-1]).to(dtype)
            bias_O = None if self.bias is None else self.bias.to(dtype)
            anchor = None  # backward must come here even where neither the input nor the bias asks for it
            if self.take is not None and torch.is_grad_enabled():
                anchor = torch.zeros((), device=x.device, requires_grad=True)
            y_NO = _Int8Product.apply(x_NI, bias_O, self, anchor)
            return y_NO.view(*x.shape[:-1], self.shape[0])


def _blocks(flat: Tensor) -> Tensor:
    """(blocks, BLOCK), filled up with zeros."""
    return F.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)


def quantise(weight_OI: Tensor, *, draw: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """int8 codes (O * I) and fp32 scales (one a block); rounded to the nearest code, or at random from `draw` so that
    the mean is the weight."""
    if weight_OI.is_meta:  # only counted: shapes are enough
        size = math.prod(weight_OI.shape)
        codes = torch.empty(size, dtype=torch.int8, device=weight_OI.device)
        return codes, torch.empty(-(-size // BLOCK), device=weight_OI.device)
    blocks = _blocks(weight_OI.flatten())
    scales = (blocks.abs().amax(1) / LARGEST).clamp(min=1e-30)
    steps = blocks / scales[:, None]
    if draw is None:
        steps.round_()
    else:
        steps.add_(torch.rand(steps.shape, generator=draw, device=steps.device)).floor_()
    codes = steps.clamp_(-LARGEST, LARGEST).to(torch.int8).flatten()
    return codes[: math.prod(weight_OI.shape)].clone(), scales
