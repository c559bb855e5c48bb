"""Attention of one query a row, as a token that is generated has it, or of few, and the products that suit it.

With fp32 products of the setting 'medium' torch hands every head of a row to oneDNN by itself, whose start costs more
than the product: 440 heads of 97 keys took 10.6 ms so, and 0.5 ms as two batched products of the library that torch is
linked with.
"""
# B rows, H heads, G heads of keys and values, P = H / G heads that share one, T queries, K keys, D of a head, Q = P * T

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def library_products(place: torch.device) -> Iterator[None]:
    """While it lasts a CPU's fp32 products are the linked library's. The setting is torch's, of the whole process."""
    before = torch.get_float32_matmul_precision()
    if place.type != "cpu" or before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def few_queries_attention(
    query_BHTD: Tensor, key_BGKD: Tensor, value_BGKD: Tensor, bias: Tensor | None, mask: Tensor | None, scale: float
) -> Tensor:
    """softmax(scale q k^T + bias) v, shape (B, T, H, D). Heads that share keys are one product. Not differentiable.

    Args:
        bias: added to the scaled scores, of a shape that broadcasts to (B, H, T, K).
        mask: True where a query may look, of a shape that broadcasts to (B, H, T, K). A query that sees nothing, of
            padding, gives a mean of all values.
    """
    B, H, T, D = query_BHTD.shape
    G, K = key_BGKD.shape[1:3]
    query_BGQD = (query_BHTD if scale == 1.0 else query_BHTD * scale).reshape(B, G, -1, D)
    scores = torch.matmul(query_BGQD, key_BGKD.transpose(2, 3))
    by_head = scores.view(B, H, T, K)
    if bias is not None:
        by_head.add_(bias)
    if mask is not None:
        by_head.masked_fill_(mask.logical_not(), torch.finfo(scores.dtype).min)
    y_BGQD = torch.matmul(torch.softmax(scores, dim=-1, out=scores), value_BGKD)
    return y_BGQD.view(B, H, T, -1).transpose(1, 2)
