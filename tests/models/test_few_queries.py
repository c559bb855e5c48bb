"""Attention of few queries against torch's own, and the setting of products that it is computed with."""

import pytest
import torch
from torch.nn import functional as F

from tunelab.models.few_queries import few_queries_attention, library_products


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_is_torchs_attention(groups, queries):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, queries, 8, generator=generator)
    room = torch.randn(2, 3, groups, 20, 8, generator=generator)
    key, value = room[:, :, :, 4:15]  # a window into more room, as a cache gives it
    mask = torch.rand(3, 1, queries, 11, generator=generator) < 0.6
    mask[..., 0] = True
    bias = torch.randn(1, 4, queries, 11, generator=generator)
    repeated = [held.repeat_interleave(4 // groups, dim=1) for held in (key, value)]
    for given_bias, given_mask in [(None, None), (None, mask), (bias, None), (bias, mask)]:
        added = torch.zeros(3, 4, queries, 11) if given_bias is None else given_bias.expand(3, -1, -1, -1).clone()
        if given_mask is not None:
            added = added.masked_fill(~given_mask, -torch.inf)
        expected = F.scaled_dot_product_attention(query, *repeated, attn_mask=added, scale=0.3).transpose(1, 2)
        found = few_queries_attention(query, key, value, given_bias, given_mask, 0.3)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_row_that_sees_nothing_is_finite():
    one = torch.ones(2, 1, 1, 4)
    mask = torch.tensor([True, False])[:, None, None, None]
    assert few_queries_attention(one, one, one, None, mask, 1.0).isfinite().all()


def test_the_setting_of_products_is_as_before_also_after_an_error():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(KeyError), library_products(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
        with library_products(torch.device("meta")):
            assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
