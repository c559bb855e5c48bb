"""Published peaks: what is predicted is said beside them, before a study starts."""

from __future__ import annotations

import pytest

from tunelab.api.studies import load_study
from tunelab.entries import Forecast
from tunelab.errors import ConfigError
from tunelab.study.foresight import memory
from tunelab.study.foresight.published import published_lines

STUDY = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["full", "lora"]}
GB = 10**9


@pytest.fixture
def told(monkeypatch):
    parts = {"weights, frozen, bfloat16": 2 * GB, "kept for backward": 3 * GB // 2, "head": 7}
    found = Forecast(device="cuda", load={}, train=parts, evaluate={}, save={})
    monkeypatch.setattr(memory, "foreseen", lambda *asked, **on: found)


@pytest.mark.usefixtures("told")
def test_each_published_peak_has_the_prediction_beside_it():
    plan = load_study({**STUDY, "published": {"lora": {"peak_gb": 1.5, "note": "Theirs has other rows"}}})
    assert published_lines(plan) == [
        "lora: 1.5 GB were published; on a GPU 3.50 GB are predicted to be held while it trains (weights 2.00, kept "
        "for backward 1.50). Theirs has other rows"
    ]


def test_nothing_is_predicted_where_nothing_was_published(monkeypatch):
    monkeypatch.setattr(memory, "foreseen", pytest.fail)
    assert published_lines(load_study(STUDY)) == []


def test_a_method_that_the_study_does_not_have_is_named():
    with pytest.raises(ConfigError, match=r"published.galore: no method of this study; there are full, lora"):
        load_study({**STUDY, "published": {"galore": {"peak_gb": 2.95}}})
