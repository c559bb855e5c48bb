"""Cross-entropy of a linear output head without the logits of all positions at once.

    loss = sum over positions of (1 - e) (logsumexp(z) - z[target]) + e (logsumexp(z) - mean(z)),   z = W h + b

The gradients are ready when the forward pass ends. Where the head is frozen the vocabulary is gone through once, a tile
of logits at a time: its exponentials are multiplied back to W at once, under a maximum that may grow on the way (the
online softmax of Milakov and Gimelshein 2018, arXiv:1805.02867). Where the head is trained a block of positions has
its logits whole, and they become their own gradient in place. So instead of three times S x V numbers there are those
of one tile or block: 4 or 64 MiB in fp32, whatever the vocabulary.

Exponentials are not divided by their sum before they are multiplied: what they are multiplied to is, which is smaller.
The target's own counts as minus the sum of the others, so that p - 1 is never a difference of two numbers near 1.
"""
# S positions, C positions of a block, H hidden, V vocabulary, T of a tile; e label smoothing

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK_NUMBERS = 2**24
"""Logits of a block where the head is trained: 64 MiB in fp32."""
TILE_NUMBERS = {"cpu": 2**20}
"""Logits of a tile where it is frozen: on a CPU 4 MiB in fp32, which stay in the cache from product to product."""
LEAST_COLUMNS = 256
"""Of a tile: products of fewer are slow."""
GRID = 64
"""Positions are filled up and columns rounded down to a multiple of this: each size of a product that oneDNN has not
met costs it a kernel's compilation and close to a megabyte."""


def linear_cross_entropy(
    hidden_SH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    target_S: Tensor,
    *,
    label_smoothing: float = 0.0,
    gradient_factor: float = 1.0,
) -> Tensor:
    """The summed loss, fp32, in nats; differentiable in hidden, weight and bias. Products follow autocast.

    `gradient_factor`: by what the caller will multiply the loss (fp16's loss scale over the number of tokens). The
    gradients, which are ready before that, are multiplied by it before they are rounded to the type of the products.
    """
    return _LinearCrossEntropy.apply(hidden_SH, weight_VH, bias_V, target_S, label_smoothing, gradient_factor)


def token_losses(hidden_SH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, target_S: Tensor) -> Tensor:
    """-ln p(target) of each position, fp32, shape (S,); no gradient."""
    dtype = _product_dtype(hidden_SH)
    with torch.no_grad(), torch.autocast(hidden_SH.device.type, enabled=False):
        return _walk(hidden_SH.to(dtype), weight_VH, bias_V, target_S).loss(0.0)[:, 0]


def _product_dtype(hidden_SH: Tensor) -> torch.dtype:
    device = hidden_SH.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_SH.dtype


class _Walked(NamedTuple):
    """What is known of each position when all of the vocabulary was seen; fp32."""

    largest_S1: Tensor
    others_S1: Tensor
    """Sum of exp(z - largest) over all but the target."""
    target_S1: Tensor
    """z[target]"""
    mean_S1: Tensor | None = None
    """Of z; where label smoothing asks for it."""
    grad_SH: Tensor | None = None
    """Sum of exp(z - largest) W over all but the target."""

    @property
    def total_S1(self) -> Tensor:
        """Sum of exp(z - largest)."""
        return self.others_S1 + (self.target_S1 - self.largest_S1).exp_()

    def loss(self, label_smoothing: float) -> Tensor:
        """Of each position, shape (S, 1)."""
        loss_S1 = self.largest_S1 + self.total_S1.log_() - (1 - label_smoothing) * self.target_S1
        return loss_S1 if self.mean_S1 is None else loss_S1 - label_smoothing * self.mean_S1


def _logits(hidden_SH: Tensor, weight_TH: Tensor, bias_T: Tensor | None) -> Tensor:
    """fp32, shape (S, T)."""
    z_ST = torch.mm(hidden_SH, weight_TH.t()).float()
    return z_ST if bias_T is None else z_ST.add_(bias_T.float())


def _walk(
    hidden_SH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    target_S: Tensor,
    *,
    wants_grad: bool = False,
    wants_mean: bool = False,
) -> _Walked:
    """Once through the vocabulary, a tile at a time; products in the dtype of hidden. Of S positions filled up to a
    multiple of `GRID`."""
    more = -len(hidden_SH) % GRID
    hidden_SH, target_S = F.pad(hidden_SH, (0, 0, 0, more)), F.pad(target_S, (0, more))
    (S, H), V, dtype = hidden_SH.shape, len(weight_VH), hidden_SH.dtype
    facts = {"dtype": torch.float32, "device": hidden_SH.device}
    largest_S1, others_S1 = torch.full((S, 1), -torch.inf, **facts), torch.zeros(S, 1, **facts)
    own_S1, mean_S1, grad_SH = torch.zeros(S, 1, **facts), None, None
    if wants_mean:
        mean_S1 = torch.zeros(S, 1, **facts)
    if wants_grad:
        grad_SH = torch.zeros(S, H, **facts)
    columns = max(LEAST_COLUMNS, TILE_NUMBERS.get(hidden_SH.device.type, BLOCK_NUMBERS) // max(S, 1) // GRID * GRID)
    for start in range(0, V, columns):
        weight_TH = weight_VH[start : start + columns].to(dtype)
        z_ST = _logits(hidden_SH, weight_TH, None if bias_V is None else bias_V[start : start + columns])
        place_S1 = target_S[:, None] - start
        is_here_S1 = (place_S1 >= 0) & (place_S1 < len(weight_TH))
        place_S1 = place_S1.clamp_(0, len(weight_TH) - 1)
        own_S1 = torch.where(is_here_S1, z_ST.gather(1, place_S1), own_S1)
        if mean_S1 is not None:
            mean_S1 += z_ST.sum(dim=1, keepdim=True) / V
        before_S1, largest_S1 = largest_S1, torch.maximum(largest_S1, z_ST.amax(dim=1, keepdim=True))
        p_ST = z_ST.sub_(largest_S1).exp_()
        p_ST.scatter_(1, place_S1, p_ST.gather(1, place_S1).masked_fill_(is_here_S1, 0.0))
        shrunk_S1 = (before_S1 - largest_S1).exp_()
        others_S1.mul_(shrunk_S1).add_(p_ST.sum(dim=1, keepdim=True))
        if grad_SH is not None:
            grad_SH.mul_(shrunk_S1)
            _add_product(grad_SH, p_ST.to(dtype), weight_TH)
    there = slice(0, S - more)
    return _Walked(
        largest_S1[there],
        others_S1[there],
        own_S1[there],
        None if mean_S1 is None else mean_S1[there],
        None if grad_SH is None else grad_SH[there],
    )


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left right; in place where all are fp32. Else some rows at a time: a CPU's sum of two types takes a copy
    of the product in the wider one, a gigabyte of a large vocabulary."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
        return
    size = max(1, BLOCK_NUMBERS // total.shape[1])
    for start in range(0, len(total), size):
        rows = slice(start, start + size)
        total[rows] += left[rows] @ right


class _Gradients(NamedTuple):
    hidden_SH: Tensor | None
    weight_VH: Tensor | None = None
    bias_V: Tensor | None = None


def _of_frozen(
    hidden_SH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    target_S: Tensor,
    label_smoothing: float,
    wants_grad: bool,
    gradient_factor: float,
) -> tuple[Tensor, _Gradients]:
    """The summed loss, and the gradient of hidden."""
    walked = _walk(hidden_SH, weight_VH, bias_V, target_S, wants_grad=wants_grad, wants_mean=bool(label_smoothing))
    grad_SH = walked.grad_SH
    if grad_SH is not None:
        grad_SH.div_(walked.total_S1)
        own_S1 = label_smoothing - walked.others_S1 / walked.total_S1
        grad_SH.addcmul_(own_S1, weight_VH[target_S].to(grad_SH.dtype))
        if label_smoothing:
            grad_SH -= label_smoothing * weight_VH.mean(dim=0, dtype=torch.float32)
        grad_SH.mul_(gradient_factor)
    return walked.loss(label_smoothing).sum(), _Gradients(grad_SH)


def _blocks(hidden_SH: Tensor, weight_VH: Tensor, bias_V: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Each block's positions and fp32 logits (C, V)."""
    size = max(1, BLOCK_NUMBERS // len(weight_VH))
    for start in range(0, len(hidden_SH), size):
        block = slice(start, start + size)
        yield block, _logits(hidden_SH[block], weight_VH, bias_V)


def _of_trained(
    hidden_SH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    target_S: Tensor,
    label_smoothing: float,
    wanted: tuple[bool, bool, bool],
    gradient_factor: float,
) -> tuple[Tensor, _Gradients]:
    """The summed loss, and the gradients of hidden, weight and bias that are wanted."""
    dtype, fp32 = hidden_SH.dtype, {"dtype": torch.float32, "device": hidden_SH.device}
    weight_VH = weight_VH.to(dtype)
    total = torch.zeros((), **fp32)
    grad_SH = torch.empty(hidden_SH.shape, **fp32) if wanted[0] else None
    grad_VH = torch.zeros(weight_VH.shape, **fp32) if wanted[1] else None
    grad_V = torch.zeros(len(weight_VH), **fp32) if wanted[2] else None
    for block, z_CV in _blocks(hidden_SH, weight_VH, bias_V):
        target_C1 = target_S[block, None]
        largest_C1, own_C1 = z_CV.amax(dim=1, keepdim=True), z_CV.gather(1, target_C1)
        mean_C1 = z_CV.mean(dim=1, keepdim=True) if label_smoothing else None
        p_CV = z_CV.sub_(largest_C1).exp_().scatter_(1, target_C1, 0.0)
        walked = _Walked(largest_C1, p_CV.sum(dim=1, keepdim=True), own_C1, mean_C1)
        sum_C1 = walked.total_S1
        total += walked.loss(label_smoothing).sum()
        grad_CV = p_CV.scatter_(1, target_C1, label_smoothing * sum_C1 - walked.others_S1)
        if label_smoothing:
            grad_CV -= (label_smoothing / len(weight_VH)) * sum_C1
        scale_C1 = gradient_factor / sum_C1
        if dtype == torch.float16:  # whose largest number is smaller than the sum may be
            grad_CV, scale_C1 = grad_CV.mul_(scale_C1), torch.ones_like(scale_C1)
        if grad_V is not None:
            grad_V += (grad_CV * scale_C1).sum(dim=0)
        grad_CV = grad_CV.to(dtype)
        if grad_SH is not None:
            grad_SH[block] = (grad_CV @ weight_VH).float().mul_(scale_C1)
        if grad_VH is not None:
            _add_product(grad_VH, grad_CV.t(), (hidden_SH[block].float() * scale_C1).to(dtype))
    return total, _Gradients(grad_SH, grad_VH, grad_V)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        hidden_SH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        target_S: Tensor,
        label_smoothing: float,
        gradient_factor: float,
    ) -> Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        ctx.dtypes = hidden_SH.dtype, weight_VH.dtype, None if bias_V is None else bias_V.dtype
        dtype = _product_dtype(hidden_SH)
        with torch.autocast(hidden_SH.device.type, enabled=False):
            head = hidden_SH.to(dtype), weight_VH, bias_V, target_S, label_smoothing
            if wants_weight or wants_bias:
                total, gradients = _of_trained(*head, (wants_hidden, wants_weight, wants_bias), gradient_factor)
            else:
                total, gradients = _of_frozen(*head, wants_hidden, gradient_factor)
        ctx.gradients, ctx.gradient_factor = gradients, gradient_factor
        return total

    @staticmethod
    def backward(ctx, grad: Tensor):
        if ctx.gradient_factor not in (0.0, 1.0):  # of 0 they are zeros
            grad = grad / ctx.gradient_factor
        gradients = [
            None if value is None else value.mul_(grad).to(dtype)
            for value, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        ]
        ctx.gradients = None  # they were scaled in place
        return *gradients, None, None, None
