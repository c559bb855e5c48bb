"""Attention as plain products against torch's own."""

import pytest
import torch
from torch.nn import functional as F

from tunelab.kernels import attention as kernel
from tunelab.kernels.attention import Rule, attention

B, H, D = 2, 4, 8


@pytest.fixture(params=[3, 256])
def block(request, monkeypatch):
    """Queries of a block: several a row, or the row whole."""
    monkeypatch.setattr(kernel, "BLOCK", request.param)


def heads(num_queries: int = 7, num_keys: int = 7, groups: int = H, dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    shapes = [(B, H, num_queries, D), (B, groups, num_keys, D), (B, groups, num_keys, D)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def compared(found, reference, wanted, *, tolerance=2e-6):
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    pairs = zip(
        [found, *torch.autograd.grad((found * weights).sum(), wanted)],
        [reference, *torch.autograd.grad((reference * weights).sum(), wanted)],
        strict=True,
    )
    for one, other in pairs:
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("groups", [1, 2, H])
def test_causal_rows_equal_torchs(groups, block):
    q, k, v = heads(groups=groups)
    reference = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)
    compared(attention(q, k, v, None, None, Rule(D**-0.5, causal=True)), reference, (q, k, v))


@pytest.mark.parametrize("wide", [False, True])
def test_a_trained_bias_and_a_mask_equal_torchs(wide, block):
    q, k, v = heads(num_keys=9)
    bias = torch.randn(B if wide else 1, H, 7, 9, requires_grad=True)
    mask = torch.rand(B, 1, 7 if wide else 1, 9) > 0.3
    mask[..., 0] = True
    added = torch.where(mask, bias, -torch.inf)
    reference = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=1.0).transpose(1, 2)
    compared(attention(q, k, v, bias, mask, Rule(1.0, causal=False)), reference, (q, k, v, bias))


def test_a_query_that_sees_nothing_is_a_number():
    q, k, v = heads()
    mask = torch.ones(B, 1, 7, 7, dtype=torch.bool)
    mask[0, :, 3] = False
    found = attention(q, k, v, None, mask, Rule(1.0, causal=False))
    found.sum().backward()
    assert all(value.isfinite().all() for value in (found, q.grad, k.grad, v.grad))


def test_products_are_fp32_under_autocast_and_of_narrow_tensors():
    q, k, v = heads(dtype=torch.bfloat16)
    rule = Rule(D**-0.5, causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(q, k, v, None, None, rule)
    exact = attention(q.float(), k.float(), v.float(), None, None, rule)
    assert found.dtype == torch.bfloat16 and found.equal(exact.to(torch.bfloat16))


def test_what_is_dropped_is_dropped_again_in_the_backward_pass(block):
    q, k, v = heads(num_queries=40, num_keys=40)
    rule = Rule(D**-0.5, causal=True, dropout=0.25, key=7)
    found = attention(q, k, v, None, None, rule)
    assert found.equal(attention(q, k, v, None, None, rule))
    assert not found.equal(attention(q, k, v, None, None, rule._replace(key=8)))
    eye = torch.eye(40).expand(B, H, 40, 40)
    used = attention(q, k, eye, None, None, rule).detach().transpose(1, 2)  # probabilities, dropped ones 0
    scores = (q @ k.transpose(2, 3) * D**-0.5).masked_fill(torch.ones(40, 40).triu(1).bool(), -torch.inf)
    probabilities = scores.softmax(-1)
    factors = torch.where(used > 0, 1 / 0.75, 0.0)
    assert torch.allclose(used, probabilities * factors, atol=1e-6)
    seen = torch.ones(40, 40).tril().bool().expand_as(factors)
    assert factors[seen].mean() == pytest.approx(1.0, abs=0.05)
    compared(found, (probabilities * factors @ v).transpose(1, 2), (q, k, v))


def test_blocks_of_queries_drop_by_draws_of_their_own(monkeypatch):
    """Equal queries in two blocks: a shared mask would give both the same."""
    monkeypatch.setattr(kernel, "BLOCK", 3)
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 3, 8).repeat(1, 1, 2, 1), torch.randn(1, 4, 6, 8), torch.randn(1, 4, 6, 8)
    for dropout in (0.5, 0.0):
        first, second = attention(q, k, v, None, None, Rule(0.5, False, dropout=dropout, key=7)).split(3, dim=1)
        assert torch.allclose(first, second) == (not dropout)
