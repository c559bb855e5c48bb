"""Attention of an encoder-decoder whose sources lie one behind the other in one row, and targets in another.

The encoder's of each source with itself, the decoder's of each target with itself and with its own source. A bias by
positions (T5) is the same for all documents: each takes the corner of its size.
"""
# H heads, G heads of keys and values, N queries' and M keys' tokens of a row, T queries and K keys of a document,
# D documents of a group; the last dimension of q, k and v is a head's size

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tunelab.kernels.attention import Documents, Rule, _gradients, _of_documents, _of_group, _values


class Alone(NamedTuple):
    """One document among a row's tokens, taken with what lies behind it: nothing is gathered."""

    start: int
    length: int
    width: int
    """Tokens that are taken; the row has as many."""


class DocumentPairs(NamedTuple):
    """Documents of about one length that look at documents of about one length, each at its own."""

    queries: Documents | Alone
    keys: Documents | Alone
    seen: Tensor | None = None
    """Keys that are a document's own, shape (D, 1, 1, K); None: all, or all that a causal query would see."""
    certain: int = 0
    """The first so many keys are every document's own."""

    @property
    def widths(self) -> tuple[int, int]:
        """T, K."""
        return _width(self.queries), _width(self.keys)


class Between(NamedTuple):
    """Who looks at whom."""

    groups: tuple[DocumentPairs, ...]
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


def pair_attention(
    q_HND: Tensor, k_GMD: Tensor, v_GMD: Tensor, bias: Tensor | None, groups: Sequence[DocumentPairs], rule: Rule
) -> Tensor:
    """Shape (N, H, D) in q's dtype, 0 where a token is of no document; differentiable in q, k, v and bias.

    Args:
        bias: added to the scaled scores of every document, (1, H or 1, at least T, at least K).
    """
    return _PairAttention.apply(q_HND, k_GMD, v_GMD, bias, tuple(groups), rule)


class _PairAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        q_HND: Tensor,
        k_GMD: Tensor,
        v_GMD: Tensor,
        bias: Tensor | None,
        groups: tuple[DocumentPairs, ...],
        rule: Rule,
    ) -> Tensor:
        by_token = [value.transpose(0, 1).contiguous() for value in (q_HND, k_GMD, v_GMD)]
        ctx.save_for_backward(*by_token, bias)
        ctx.groups, ctx.rule = groups, rule
        y_NHD = by_token[0].new_zeros(*by_token[0].shape[:2], v_GMD.shape[-1])
        for number, group in enumerate(groups):
            with torch.autocast(q_HND.device.type, enabled=False):
                rest = _corner(bias, group), group.seen, _rule(rule, number, group)
                y_DTHD = _values(*_of_pairs(by_token, group), *rest)
            _put(y_NHD, y_DTHD, group.queries)
        return y_NHD

    @staticmethod
    def backward(ctx, grad_NHD: Tensor):
        *by_token, bias = ctx.saved_tensors
        grads = [torch.zeros_like(value) for value in by_token]
        grad_bias = None
        if bias is not None and ctx.needs_input_grad[3]:
            grad_bias = torch.zeros_like(bias, dtype=torch.float32)
        for number, group in enumerate(ctx.groups):
            rest = _corner(bias, group), group.seen, _rule(ctx.rule, number, group), _alone(grad_NHD, group.queries)
            with torch.autocast(grad_NHD.device.type, enabled=False):
                found = _gradients(*_of_pairs(by_token, group), *rest, _corner(grad_bias, group))
            sides = (group.queries, group.keys, group.keys)
            for grad, part_DHTD, side in zip(grads, found, sides, strict=True):
                _put(grad, part_DHTD.transpose(1, 2), side)
        return *(grad.transpose(0, 1) for grad in grads), grad_bias, None, None


def _width(side: Documents | Alone) -> int:
    return side.width if isinstance(side, Alone) else side.index_DT.shape[1]


def _taken(value_NHD: Tensor, side: Documents | Alone) -> Tensor:
    """Shape (D, heads, T, size of a head); behind a document's end any values of the row."""
    if isinstance(side, Alone):
        return value_NHD[None, side.start : side.start + side.width].transpose(1, 2).contiguous()
    return _of_documents(value_NHD, side)


def _alone(grad_NHD: Tensor, side: Documents | Alone) -> Tensor:
    """Shape (D, T, H, D); 0 behind a document's end."""
    if isinstance(side, Alone) and side.length == side.width:
        return grad_NHD[None, side.start : side.start + side.width]
    if isinstance(side, Alone):
        grad_1THD = grad_NHD.new_zeros(1, side.width, *grad_NHD.shape[1:])
        grad_1THD[0, : side.length] = grad_NHD[side.start : side.start + side.length]
        return grad_1THD
    D, T = side.index_DT.shape
    grad_NHD = grad_NHD[side.token_M]
    flat = grad_NHD.new_zeros(D * T, *grad_NHD.shape[1:])
    return flat.index_copy_(0, side.place_M, grad_NHD).view(D, T, *grad_NHD.shape[1:])


def _put(row_NHD: Tensor, found_DTHD: Tensor, side: Documents | Alone) -> None:
    """The documents' own tokens to their places in the row."""
    if isinstance(side, Alone):
        row_NHD[side.start : side.start + side.length] = found_DTHD[0, : side.length]
    else:
        row_NHD.index_copy_(0, side.token_M, found_DTHD.flatten(0, 1)[side.place_M].to(row_NHD.dtype))


def _of_pairs(by_token: Sequence[Tensor], group: DocumentPairs) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of a group's documents, each of shape (D, heads, T or K, size of a head)."""
    q, k, v = by_token
    return _taken(q, group.queries), _taken(k, group.keys), _taken(v, group.keys)


def _corner(bias: Tensor | None, group: DocumentPairs) -> Tensor | None:
    """A view."""
    num_queries, num_keys = group.widths
    return None if bias is None else bias[..., :num_queries, :num_keys]


def _rule(rule: Rule, number: int, group: DocumentPairs) -> Rule:
    return _of_group(rule, number)._replace(certain=group.certain)
