"""Rates of operations over numbers, one by one, as this machine measures them."""

from __future__ import annotations

import math
import sys

import pytest

from tunelab.backends.torch.speed import measured_passes


@pytest.fixture(scope="module")
def rates():
    return measured_passes.passes(threads=1)


def test_every_function_is_measured_in_fp32(rates):
    found = {each.function for each in rates if each.dtype == "fp32"}
    assert found == {"move", "silu", "gelu", "exp", "softmax", "norm", "draw", "cast", "quantise"}
    assert all(0 < each.bytes_per_second < math.inf for each in rates)


def test_moving_is_measured_over_more_than_the_inner_caches_hold(rates, monkeypatch):
    """A step meets its numbers again after all the others."""
    asked = []
    monkeypatch.setattr(measured_passes, "_multiply", lambda x, y, out: asked.append(out.data_ptr()) or out)
    monkeypatch.setattr(measured_passes, "_best", lambda work, place: [work() for _ in range(8)] and 1.0)
    monkeypatch.setattr(measured_passes, "FUNCTIONS", {})
    measured_passes.passes(threads=1)
    assert len(set(asked[:8])) == 8  # of the smallest size
    assert [each.num_bytes for each in rates if each.function == "move"] == list(measured_passes.MOVED)


def test_without_bitsandbytes_quantisation_is_not_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert measured_passes._quantiser(measured_passes.device.chosen()) is None
