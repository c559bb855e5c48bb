"""Attention of documents in one row, or of sources and targets in two, against torch's own of each document alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tunelab.backends.torch import inputs
from tunelab.backends.torch.inputs import between
from tunelab.kernels import attention as kernel
from tunelab.kernels.attention import Rule
from tunelab.kernels.documents import document_attention

H, D = 4, 8
QUERIES, KEYS = np.array([5, 3, 18, 3, 2]), np.array([21, 7, 40, 6, 1])


def heads(groups: int = 2):
    torch.manual_seed(0)
    shapes = [(H, 48, D), (groups, 80, D), (groups, 80, D)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def each_alone(q, k, v, bias, lengths, *, causal=False):
    """By torch's attention, one document after the other."""
    pieces, begun = [], [0, 0]
    for num_queries, num_keys in zip(*(side.tolist() for side in lengths), strict=True):
        own_q = q[None, :, begun[0] : begun[0] + num_queries]
        own = [value[None, :, begun[1] : begun[1] + num_keys] for value in (k, v)]
        added = torch.zeros(num_queries, num_keys) if bias is None else bias[..., :num_queries, :num_keys]
        if causal:
            added = added.masked_fill(torch.ones(num_queries, num_keys).triu(1).bool(), -torch.inf)
        found = F.scaled_dot_product_attention(own_q, *own, attn_mask=added, scale=0.5, enable_gqa=True)
        pieces.append(found[0].transpose(0, 1))
        begun = [begun[0] + num_queries, begun[1] + num_keys]
    used = sum(map(len, pieces))
    return torch.cat([*pieces, torch.zeros(q.shape[1] - used, H, D)])


def compared(found, reference, wanted):
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    pairs = zip(
        [found, *torch.autograd.grad((found * weights).sum(), wanted)],
        [reference, *torch.autograd.grad((reference * weights).sum(), wanted)],
        strict=True,
    )
    for one, other in pairs:
        assert (one - other).norm() <= 2e-6 * other.norm()


@pytest.fixture(params=["together", "alone", "blocks"])
def cut(request, monkeypatch):
    """Documents beside each other, each alone, or in blocks of a few queries."""
    monkeypatch.setattr(inputs, "MOST_TOGETHER", 0 if request.param == "alone" else 128)
    monkeypatch.setattr(kernel, "BLOCK", 4 if request.param == "blocks" else 256)


@pytest.mark.parametrize("biased", [True, False])
def test_targets_that_look_at_their_sources_equal_each_alone(biased, cut):
    q, k, v = heads()
    across = between(QUERIES, KEYS, causal=False)
    bias = torch.randn(1, H, 32, 48, requires_grad=True) if biased else None
    found = document_attention(q, k, v, bias, across.groups, Rule(0.5, False))
    wanted = [q, k, v, *([] if bias is None else [bias])]
    compared(found, each_alone(q, k, v, bias, (QUERIES, KEYS)), wanted)
    assert (found[int(QUERIES.sum()) :] == 0).all(), "tokens of no document"


@pytest.mark.parametrize("causal", [True, False])
def test_documents_that_look_at_themselves_equal_each_alone(causal, cut):
    _, k, v = heads(groups=H)
    q = torch.randn(H, 80, D, requires_grad=True)
    within = between(KEYS, causal=causal)
    bias = torch.randn(1, H, *within.widths, requires_grad=True)
    found = document_attention(q, k, v, bias, within.groups, Rule(0.5, causal))
    compared(found, each_alone(q, k, v, bias, (KEYS, KEYS), causal=causal), (q, k, v, bias))


def test_the_last_document_may_end_with_the_row(monkeypatch):
    monkeypatch.setattr(inputs, "MOST_TOGETHER", 0)
    q, k, v = (torch.randn(H, 10, D, requires_grad=True) for _ in range(3))
    lengths = np.array([3, 7])
    within = between(lengths, causal=False)
    found = document_attention(q, k, v, None, within.groups, Rule(0.5, False))
    compared(found, each_alone(q, k, v, None, (lengths, lengths)), (q, k, v))


def test_what_is_dropped_is_dropped_again_in_the_backward_pass(cut):
    """The gradient is that of the function itself, by finite differences in one direction."""
    q, k, v = heads()
    across = between(QUERIES, KEYS, causal=False)
    rule = Rule(0.5, False, dropout=0.3, key=7)
    direction = torch.randn(q.shape, generator=torch.Generator().manual_seed(2))

    def loss(moved_by):
        return document_attention(q + moved_by * direction, k, v, None, across.groups, rule).sum()

    assert loss(0.0).equal(loss(0.0))
    other = document_attention(q, k, v, None, across.groups, rule._replace(key=8)).sum()
    assert not other.equal(loss(0.0))
    slope = float((torch.autograd.grad(loss(0.0), q)[0] * direction).sum())
    with torch.no_grad():
        assert slope == pytest.approx(float(loss(1e-2) - loss(-1e-2)) / 2e-2, rel=2e-2, abs=2e-3)


def test_documents_of_each_group_drop_by_draws_of_their_own(monkeypatch):
    """Two documents of the same tokens, each a group: a shared mask would give both the same."""
    monkeypatch.setattr(inputs, "MOST_TOGETHER", 0)
    torch.manual_seed(0)
    q, k, v = (torch.randn(H, 6, D).repeat(1, 2, 1) for _ in range(3))
    within = between(np.array([6, 6]), causal=False)
    assert len(within.groups) == 2
    first, second = document_attention(q, k, v, None, within.groups, Rule(0.5, False, dropout=0.5, key=7)).split(6)
    assert not first.equal(second)
    first, second = document_attention(q, k, v, None, within.groups, Rule(0.5, False)).split(6)
    torch.testing.assert_close(first, second)
