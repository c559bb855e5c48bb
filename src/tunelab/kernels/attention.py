"""Attention as plain batched products, for rows too short to be worth a flash kernel: softmax(s q k^T + bias) v.

On a CPU torch's flash kernel computes rows of a few hundred tokens at a tenth of the machine's rate, most of all
backwards. Here each head's scores are one product; of a causal row the keys behind a block of queries are left out.
Only q, k and v are kept: the scores are made again in the backward pass, and so is what dropout draws. Products and
softmax are fp32 whatever comes in.
"""
# B batch, H heads, G heads of keys and values, P = H / G heads that share one, T queries, K keys, D of a head;
# Q queries of a block, L keys that a block sees

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from tunelab.kernels.sparse import has_numbers

NEVER = torch.finfo(torch.float32).min / 2
"""Score of a key that is not seen: with any other number added it is still finite, so that a row that sees nothing (of
padding) is no NaN."""
BLOCK = 256
"""Queries of a block: of a causal row half of what lies right of the diagonal in each block is wasted."""


class Rule(NamedTuple):
    """What attention does beside its products."""

    scale: float
    causal: bool
    dropout: float = 0.0
    """Share of the probabilities that is dropped."""
    key: int = 0
    """Of dropout's draws."""
    certain: int = 0
    """The first so many keys are seen whatever a mask says, which is not looked at there."""


def attention(
    q_BHTD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, bias: Tensor | None, mask: Tensor | None, rule: Rule
) -> Tensor:
    """Shape (B, T, H, D), in q's dtype; differentiable in q, k, v and bias.

    Args:
        bias: added to the scaled scores, of a shape that broadcasts to (B, H, T, K).
        mask: True where a query may look, of a shape that broadcasts to (B, 1, T, K); beside `rule.causal`, of which
            query t sees the keys up to t.
    """
    return _Attention.apply(q_BHTD, k_BGKD, v_BGKD, bias, mask, rule)


class _Heads(NamedTuple):
    """fp32, the heads of all rows one behind the other."""

    q_NPTD: Tensor
    """Scaled: there are fewer of its numbers than scores."""
    k_NKD: Tensor
    v_NKD: Tensor

    @classmethod
    def of(cls, q_BHTD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, scale: float) -> _Heads:
        """k and v: views of contiguous ones that are fp32 already."""
        (B, H, T, D), (_, G, K, _) = q_BHTD.shape, k_BGKD.shape
        scaled = torch.mul(q_BHTD.float(), scale) if scale != 1.0 else q_BHTD.float()
        values = v_BGKD.float().reshape(B * G, K, v_BGKD.shape[-1])
        return cls(scaled.reshape(B * G, H // G, T, D), k_BGKD.float().reshape(B * G, K, D), values)


class _Block(NamedTuple):
    """Some queries with the keys that they see."""

    queries: slice
    keys: slice

    def of(self, value: Tensor) -> Tensor:
        """That part of what broadcasts to (..., T, K)."""
        value = value if value.shape[-2] == 1 else value[..., self.queries, :]
        return value if value.shape[-1] == 1 else value[..., self.keys]


def _blocks(num_queries: int, num_keys: int, rule: Rule) -> Iterator[_Block]:
    """The last queries first: they see all keys that any other sees."""
    for start in reversed(range(0, num_queries, BLOCK)):
        stop = min(start + BLOCK, num_queries)
        yield _Block(slice(start, stop), slice(0, min(stop, num_keys) if rule.causal else num_keys))


def _probabilities(
    heads: _Heads, block: _Block, bias: Tensor | None, mask: Tensor | None, rule: Rule, batch: int
) -> Tensor:
    """Shape (N, P * Q, L)."""
    q_NQD, k_NLD = _queries(heads.q_NPTD, block), heads.k_NKD[:, block.keys]
    scores = torch.bmm(q_NQD, k_NLD.transpose(1, 2))
    by_head = scores.view(batch, -1, block.queries.stop - block.queries.start, scores.shape[-1])  # (B, H, Q, L)
    if bias is not None:
        by_head.add_(block.of(bias))
    if mask is not None:
        by_head[..., rule.certain :].masked_fill_(block.of(mask)[..., rule.certain :].logical_not(), NEVER)
    if rule.causal:
        own = by_head[..., block.queries.start :]  # of keys before the block every query sees all
        later = _later if has_numbers(scores) else _later.__wrapped__  # what a trace makes is nothing to keep
        own.add_(later(BLOCK, scores.device)[: own.shape[-2], : own.shape[-1]])
    return torch.softmax(scores, dim=-1, out=scores)


@lru_cache
def _later(size: int, device: torch.device) -> Tensor:
    """What keeps a block's queries from later keys, shape (Q, Q). Added: a masked fill takes many times as long."""
    return torch.full((size, size), NEVER, device=device).triu_(1)


def _queries(value_NPTD: Tensor, block: _Block) -> Tensor:
    """Shape (N, P * Q, D)."""
    part = value_NPTD[:, :, block.queries]
    return part.reshape(len(part), -1, part.shape[-1])


def _kept(probabilities: Tensor, rule: Rule, block: _Block) -> Tensor:
    """Factors of dropout: 0 where dropped, else 1 / (1 - share)."""
    generator = torch.Generator(probabilities.device).manual_seed(rule.key + block.queries.start)
    return torch.empty_like(probabilities).bernoulli_(1.0 - rule.dropout, generator=generator).div_(1.0 - rule.dropout)


def attended(
    q_BHTD: Tensor, k_BGKD: Tensor, v_BGKD: Tensor, bias: Tensor | None, mask: Tensor | None, rule: Rule
) -> Tensor:
    """What `attention` gives, with no gradient, shape (B, H, T, D), fp32."""
    B, H, T, _ = q_BHTD.shape
    heads = _Heads.of(q_BHTD, k_BGKD, v_BGKD, rule.scale)
    y_BHTD = heads.q_NPTD.new_empty(B, H, T, v_BGKD.shape[-1])
    for block in _blocks(T, k_BGKD.shape[2], rule):
        probabilities = _probabilities(heads, block, bias, mask, rule, B)
        if rule.dropout:
            probabilities.mul_(_kept(probabilities, rule, block))
        y_NQD = torch.bmm(probabilities, heads.v_NKD[:, block.keys])
        y_BHTD[:, :, block.queries] = y_NQD.view(B, H, -1, y_NQD.shape[-1])
    return y_BHTD


def gradients(
    q_BHTD: Tensor,
    k_BGKD: Tensor,
    v_BGKD: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: Rule,
    grad_BHTD: Tensor,
    grad_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of `attended`: fp32, of the shapes of q, k and v; that of the bias is added to `grad_bias`."""
    B = len(q_BHTD)
    heads = _Heads.of(q_BHTD, k_BGKD, v_BGKD, rule.scale)
    grad_NPTD = grad_BHTD.float().reshape(*heads.q_NPTD.shape[:3], -1)
    grad_q, grad_k, grad_v = torch.empty_like(heads.q_NPTD), None, None
    for block in _blocks(q_BHTD.shape[2], k_BGKD.shape[2], rule):
        k_NLD, v_NLD = heads.k_NKD[:, block.keys], heads.v_NKD[:, block.keys]
        grad_NQD, q_NQD = _queries(grad_NPTD, block), _queries(heads.q_NPTD, block)
        probabilities = _probabilities(heads, block, bias, mask, rule, B)
        grad_scores = torch.bmm(grad_NQD, v_NLD.transpose(1, 2))
        used = probabilities
        if rule.dropout:
            factors = _kept(probabilities, rule, block)
            used = probabilities * factors
            grad_scores.mul_(factors)
        grad_v = _added(grad_v, block, used, grad_NQD)
        torch.ops.aten._softmax_backward_data.out(grad_scores, probabilities, -1, torch.float32, grad_input=grad_scores)
        if grad_bias is not None:
            by_head = grad_scores.view(B, -1, block.queries.stop - block.queries.start, grad_scores.shape[-1])
            part = block.of(grad_bias)
            part += by_head.sum_to_size(part.shape)
        part_q = torch.bmm(grad_scores, k_NLD)
        grad_q[:, :, block.queries] = part_q.view(*grad_q.shape[:2], -1, part_q.shape[-1])
        grad_k = _added(grad_k, block, grad_scores, q_NQD)
    assert grad_k is not None and grad_v is not None, "a row without tokens"
    if rule.scale != 1.0:
        grad_q.mul_(rule.scale)
    return grad_q.view(q_BHTD.shape), grad_k.view(k_BGKD.shape), grad_v.view(v_BGKD.shape)


def _added(total_NKD: Tensor | None, block: _Block, left_NQL: Tensor, right_NQD: Tensor) -> Tensor:
    """The total with left^T right at the block's keys; the first block has all of them."""
    if total_NKD is None:
        return torch.bmm(left_NQL.transpose(1, 2), right_NQD)
    total_NKD[:, block.keys].baddbmm_(left_NQL.transpose(1, 2), right_NQD)
    return total_NKD


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        q_BHTD: Tensor,
        k_BGKD: Tensor,
        v_BGKD: Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
        rule: Rule,
    ) -> Tensor:
        given = q_BHTD.contiguous(), k_BGKD.contiguous(), v_BGKD.contiguous(), bias, mask
        ctx.save_for_backward(*given)
        ctx.rule = rule
        with torch.autocast(q_BHTD.device.type, enabled=False):
            return attended(*given, rule).transpose(1, 2).to(q_BHTD.dtype, memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx, grad_BTHD: Tensor):
        q_BHTD, k_BGKD, v_BGKD, bias, mask = ctx.saved_tensors
        grad_bias = None
        if bias is not None and ctx.needs_input_grad[3]:
            grad_bias = torch.zeros_like(bias, dtype=torch.float32)
        with torch.autocast(q_BHTD.device.type, enabled=False):
            grads = gradients(q_BHTD, k_BGKD, v_BGKD, bias, mask, ctx.rule, grad_BTHD.transpose(1, 2), grad_bias)
        grad_q, grad_k, grad_v = (grad.to(q_BHTD.dtype) for grad in grads)
        return grad_q, grad_k, grad_v, grad_bias, None, None  # autograd rounds that of the bias itself
