"""Attention of one query a row, as a token that is generated has it, and the products that are quickest for it.

With fp32 products of the setting 'medium' torch hands every head of a row to oneDNN by itself, whose start costs it more
than the product: 440 heads of 97 keys took 10.6 ms so, and 0.5 ms as two batched products of the library that torch is
linked with.
"""
# B rows, H heads, G heads of keys and values, P = H / G heads that share one, K keys, D of a head

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def library_products(place: torch.device) -> Iterator[None]:
    """While it lasts a CPU's fp32 products are the linked library's; a setting of the whole process, as torch has it."""
    before = torch.get_float32_matmul_precision()
    if place.type != "cpu" or before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def one_query_attention(
    query_BH1D: Tensor, key_BGKD: Tensor, value_BGKD: Tensor, bias: Tensor | None, mask: Tensor | None, scale: float
) -> Tensor:
    """softmax(scale q k^T + bias) v, shape (B, 1, H, D). Heads that share keys are one product.

    Args:
        bias: added to the scaled scores, of a shape that broadcasts to (B, H, 1, K).
        mask: True where the query may look, of a shape that broadcasts to (B, H, 1, K). A row that sees nothing, of
            padding, gives a mean of all values.
    """
    B, H, _, D = query_BH1D.shape
    G, K = key_BGKD.shape[1:3]
    query_BGPD = query_BH1D.reshape(B, G, H // G, D)
    scores = torch.matmul(query_BGPD if scale == 1.0 else query_BGPD * scale, key_BGKD.transpose(2, 3))
    by_head = scores.view(B, H, 1, K)
    if bias is not None:
        by_head.add_(bias)
    if mask is not None:
        by_head.masked_fill_(mask.logical_not(), torch.finfo(scores.dtype).min)
    y_BGPD = torch.matmul(torch.softmax(scores, dim=-1, out=scores), value_BGKD)
    return y_BGPD.view(B, 1, H, -1)
