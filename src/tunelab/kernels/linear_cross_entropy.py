"""Cross-entropy of a linear output head without the logits of all positions at once.

    loss = sum over positions of (1 - e) (logsumexp(z) - z[target]) + e (logsumexp(z) - mean(z)),   z = W h + b

A block of positions at a time: its logits are made, turned into their own gradient in place, multiplied back to h and
W, and forgotten. So the head needs one block of S x V numbers instead of three whole ones; with a vocabulary of
262,144 and 4,096 positions that is 64 MiB instead of 12 GiB. The gradients are ready when the forward pass ends.
"""
# S positions, C positions of a block, H hidden, V vocabulary; e label smoothing

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK_NUMBERS = 2**24
"""Logits of a block: 64 MiB in fp32."""


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
    losses = [
        torch.logsumexp(logits_CV, dim=1) - logits_CV.gather(1, target_S[block, None])[:, 0]
        for block, logits_CV in _blocks(hidden_SH.detach(), weight_VH.detach(), bias_V)
    ]
    return torch.cat(losses)


def _blocks(hidden_SH: Tensor, weight_VH: Tensor, bias_V: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Each block's positions and fp32 logits (C, V)."""
    size = max(1, BLOCK_NUMBERS // len(weight_VH))
    for start in range(0, len(hidden_SH), size):
        block = slice(start, start + size)
        logits_CV = torch.mm(hidden_SH[block], weight_VH.t()).float()
        yield block, logits_CV if bias_V is None else logits_CV.add_(bias_V.float())


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
        device = hidden_SH.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else hidden_SH.dtype
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        ctx.dtypes = hidden_SH.dtype, weight_VH.dtype, None if bias_V is None else bias_V.dtype
        grad_hidden = torch.empty_like(hidden_SH) if wants_hidden else None
        grad_weight = torch.zeros_like(weight_VH, dtype=torch.float32) if wants_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and wants_bias else None
        total = torch.zeros((), dtype=torch.float32, device=hidden_SH.device)
        with torch.autocast(device, enabled=False):
            hidden, weight = hidden_SH.to(dtype), weight_VH.to(dtype)
            for block, logits_CV in _blocks(hidden, weight, bias_V):
                target_C1 = target_S[block, None]
                normaliser_C1 = torch.logsumexp(logits_CV, dim=1, keepdim=True)
                loss_C1 = normaliser_C1 - (1 - label_smoothing) * logits_CV.gather(1, target_C1)
                if label_smoothing:
                    loss_C1 -= label_smoothing * logits_CV.mean(dim=1, keepdim=True)
                total += loss_C1.sum()
                if not (wants_hidden or wants_weight or wants_bias):
                    continue
                grad_CV = logits_CV.sub_(normaliser_C1).exp_()
                if label_smoothing:
                    grad_CV -= label_smoothing / len(weight)
                grad_CV.scatter_add_(1, target_C1, torch.full_like(loss_C1, label_smoothing - 1))
                if gradient_factor != 1.0:
                    grad_CV *= gradient_factor
                if grad_bias is not None:
                    grad_bias += grad_CV.sum(dim=0)
                grad_CV = grad_CV.to(dtype)
                if grad_hidden is not None:
                    grad_hidden[block] = grad_CV @ weight
                if grad_weight is not None and dtype == torch.float32:
                    grad_weight.addmm_(grad_CV.t(), hidden[block])
                elif grad_weight is not None:
                    grad_weight += grad_CV.t() @ hidden[block]
        ctx.gradients, ctx.gradient_factor = (grad_hidden, grad_weight, grad_bias), gradient_factor
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
