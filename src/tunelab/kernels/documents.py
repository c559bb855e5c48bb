"""Attention among documents that lie one behind the other in a row: none sees another.

A causal model's row has all documents of a micro-batch. An encoder-decoder's sources lie in one row and its targets in
another: each source looks at itself, each target at itself and at its own source. Documents of about one length are
taken out of the row and computed beside each other (attention.py).
"""
# H heads, G heads of keys and values, N queries' and M keys' tokens of a row, D documents of a group, T queries and K
# keys of a document; the last dimension of q, k and v is a head's size

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tunelab.kernels.attention import Rule, attended, gradients


class Documents(NamedTuple):
    """Some of a row, of about one length."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    width: int
    """What each is filled up to with zeros."""


class Looking(NamedTuple):
    """Documents that look at documents, each at its own."""

    queries: Documents
    keys: Documents
    seen: Tensor | None = None
    """Keys that are a document's own, shape (D, 1, 1, K); None: all, or all that a causal query would see."""
    certain: int = 0
    """The first so many keys are every document's own."""

    @property
    def widths(self) -> tuple[int, int]:
        """T, K."""
        return self.queries.width, self.keys.width


def document_attention(
    q_HND: Tensor, k_GMD: Tensor, v_GMD: Tensor, bias: Tensor | None, groups: Sequence[Looking], rule: Rule
) -> Tensor:
    """Shape (N, H, D) in q's dtype, 0 where a token is of no document; differentiable in q, k, v and bias.

    Args:
        bias: added to the scaled scores of every document, (1, H or 1, at least T, at least K).
    """
    return _DocumentAttention.apply(q_HND, k_GMD, v_GMD, bias, tuple(groups), rule)


class _DocumentAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        q_HND: Tensor,
        k_GMD: Tensor,
        v_GMD: Tensor,
        bias: Tensor | None,
        groups: tuple[Looking, ...],
        rule: Rule,
    ) -> Tensor:
        by_token = [value.transpose(0, 1).contiguous() for value in (q_HND, k_GMD, v_GMD)]
        ctx.save_for_backward(*by_token, bias)
        ctx.groups, ctx.rule = groups, rule
        y_NHD = by_token[0].new_zeros(*by_token[0].shape[:2], v_GMD.shape[-1])
        with torch.autocast(q_HND.device.type, enabled=False):
            for number, group in enumerate(groups):
                rest = _corner(bias, group), group.seen, _of_group(rule, number, group)
                _put(y_NHD, attended(*_of_pairs(by_token, group), *rest), group.queries)
        return y_NHD

    @staticmethod
    def backward(ctx, grad_NHD: Tensor):
        *by_token, bias = ctx.saved_tensors
        grads = [torch.zeros_like(value) for value in by_token]
        grad_bias = None
        if bias is not None and ctx.needs_input_grad[3]:
            grad_bias = torch.zeros_like(bias, dtype=torch.float32)
        with torch.autocast(grad_NHD.device.type, enabled=False):
            for number, group in enumerate(ctx.groups):
                rest = _corner(bias, group), group.seen, _of_group(ctx.rule, number, group)
                grad_DHTD = _taken(grad_NHD, group.queries)
                found = gradients(*_of_pairs(by_token, group), *rest, grad_DHTD, _corner(grad_bias, group))
                for grad, part, side in zip(grads, found, (group.queries, group.keys, group.keys), strict=True):
                    _put(grad, part, side)
        return *(grad.transpose(0, 1) for grad in grads), grad_bias, None, None


def _taken(value_NHD: Tensor, side: Documents) -> Tensor:
    """Shape (D, heads, T, size of a head), fp32; zeros behind a document's end. One copy of each, which is what the
    products would make of a view."""
    heads, size = value_NHD.shape[1:]
    taken_DHTD = value_NHD.new_empty(len(side.starts), heads, side.width, size, dtype=torch.float32)
    for taken_HTD, start, length in zip(taken_DHTD, side.starts, side.lengths, strict=True):
        taken_HTD[:, :length] = value_NHD[start : start + length].transpose(0, 1)
        if length < side.width:
            taken_HTD[:, length:] = 0.0
    return taken_DHTD


def _put(row_NHD: Tensor, found_DHTD: Tensor, side: Documents) -> None:
    """The documents' own tokens to their places in the row."""
    for found_HTD, start, length in zip(found_DHTD, side.starts, side.lengths, strict=True):
        row_NHD[start : start + length] = found_HTD[:, :length].transpose(0, 1)


def _of_pairs(by_token: Sequence[Tensor], group: Looking) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of a group's documents."""
    q, k, v = by_token
    return _taken(q, group.queries), _taken(k, group.keys), _taken(v, group.keys)


def _corner(bias: Tensor | None, group: Looking) -> Tensor | None:
    """A view."""
    num_queries, num_keys = group.widths
    return None if bias is None else bias[..., :num_queries, :num_keys]


def _of_group(rule: Rule, number: int, group: Looking) -> Rule:
    """Draws of its own."""
    return rule._replace(key=rule.key + number * 2**20, certain=group.certain)


class Between(NamedTuple):
    """Who looks at whom."""

    groups: tuple[Looking, ...]
    causal: bool
    widths: tuple[int, int]
    """Of the widest group: positions of queries, of keys."""


class PairRows(NamedTuple):
    """Where sources lie in an encoder's row and targets in a decoder's. The rows are never equally long, so that an
    attention's lengths tell which it is."""

    within_sources: Between
    within_targets: Between
    across: Between
    source_positions: Tensor
    """Shape (tokens of the row)."""
    target_positions: Tensor

    def between(self, num_queries: int, num_keys: int) -> Between | None:
        """By lengths of rows; None: of no attention that is known."""
        sources, targets = len(self.source_positions), len(self.target_positions)
        known = {
            (sources, sources): self.within_sources,
            (targets, targets): self.within_targets,
            (targets, sources): self.across,
        }
        return known.get((num_queries, num_keys))
