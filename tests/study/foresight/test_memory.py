"""Which methods fit: sizes as users write them, the order of the ways out, and that each is predicted again."""

from __future__ import annotations

import pytest

import tunelab
from tunelab.api.studies import load_study
from tunelab.entries import Forecast
from tunelab.errors import ConfigError
from tunelab.study.foresight import memory
from tunelab.study.foresight.fits import Setting, cut, way_out
from tunelab.study.foresight.memory import asked_of, filled, size_of, study_memory
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import method_run

STUDY = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["full", "lora"], "batch": {"max_length": 64}}


def forecast_of(size: int) -> Forecast:
    parts = {"weights, frozen, float32": size}
    return Forecast(device="cpu", load=parts, train=parts, evaluate=parts, save=parts)


def setting_of(name: str, **batch) -> Setting:
    plan = load_study({**STUDY, "methods": [name], "batch": {"max_length": 64, "max_tokens": 512, **batch}})
    (planned,) = plan.methods
    run = method_run(
        plan, plan.tasks[0], "torch", Revisions(), method=planned, seed=0, candidate=planned.candidates[0]
    )  # fmt: skip
    return Setting(run, planned.method, filled(plan.study.model, run.batch, 512))


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GiB", 16 * 2**30), ("24G", 24 * 2**30), ("500 MB", 500 * 10**6), ("1.5 gib", 3 * 2**29), ("1TiB", 2**40)],
)
def test_sizes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "0GiB", "-1GiB", "16 GiB of it", "16XB"])
def test_no_sizes(text):
    with pytest.raises(ConfigError, match="--memory"):
        size_of(text)


def test_a_gpu_by_its_name_is_less_than_it_is_sold_as():
    asked = asked_of("t4")
    assert (asked.device, asked.narrow) == ("cuda", "fp16")
    assert 14 * 2**30 < asked.limit < 16 * 2**30
    with pytest.raises(ConfigError, match=r"--memory h10: a size .*h100"):
        asked_of("h10")


def test_a_gpu_that_is_not_here():
    with pytest.raises(ConfigError, match=r"--memory 16GiB --device gpu"):
        asked_of("gpu")


def test_rows_of_the_longest_length_fill_a_micro_batch():
    plan = load_study({**STUDY, "batch": {"max_length": 100, "examples": 3}})
    assert filled(plan.study.model, plan.study.batch, 4096) == ((100, 100, 0),) * 3
    assert filled(plan.study.model, plan.study.batch, 250) == ((100, 100, 0),) * 2
    assert filled(plan.study.model, plan.study.batch, 50) == ((100, 100, 0),)
    pairs = load_study({**STUDY, "model": "tunelab/tiny-seq2seq", "batch": {"max_length": 100, "examples": 3}})
    assert filled(pairs.study.model, pairs.study.batch, 4096) == ((100, 100, 100),) * 3


def test_rows_of_a_smaller_batch():
    rows = ((30, 5, 0), (20, 5, 0), (10, 5, 0))
    assert cut(rows, 50) == rows[:2] and cut(rows, 49) == rows[:1]
    assert cut(rows, 1) == rows[:1] and cut(rows, 1000) == rows


def test_sources_and_targets_are_counted_apart():
    rows = ((10, 10, 40), (10, 10, 40), (10, 10, 20))
    assert cut(rows, 80) == rows[:2] and cut(rows, 100) == rows
    setting = setting_of("lora")
    batch = setting.run.batch.model_copy(update={"max_tokens": 4096})
    setting = Setting(setting.run.model_copy(update={"batch": batch}), setting.method, ((512, 512, 512),) * 8)
    asked: list[Setting] = []
    way_out(setting, 1, lambda each: asked.append(each) or forecast_of(len(each.rows)))
    halves = [(each.run.batch.max_tokens, len(each.rows)) for each in asked if each.said[0].startswith("batch")]
    assert halves == [(512, 1), (2048, 4), (1024, 2)], "the least first: where that does not fit, none does"


def test_smaller_batches_are_no_way_out_where_they_have_been_tried():
    said: list[tuple[str, ...]] = []
    way_out(setting_of("full"), 1, lambda each: said.append(each.said) or forecast_of(2), smaller=False)
    assert said and not any(change.startswith("batch") for changes in said for change in changes)


def test_the_first_change_that_is_enough_is_taken_and_was_predicted():
    asked: list[tuple[str, ...]] = []

    def foresee(setting: Setting) -> Forecast:
        asked.append(setting.said)
        tokens = setting.run.batch.max_tokens
        return forecast_of(tokens // (4 if setting.run.activation_checkpointing else 1))

    way = way_out(setting_of("lora"), 100, foresee)
    assert way is not None and way.forecast.peak <= 100 and way.said in asked
    assert way.said == ("batch.max_tokens=64",) or way.said == ("activation_checkpointing=true", "batch.max_tokens=256")


def test_nothing_is_asked_between_the_whole_and_a_least_that_does_not_fit():
    said: list[tuple[str, ...]] = []
    way_out(setting_of("lora"), 1, lambda each: said.append(each.said) or forecast_of(2))
    assert len(said) == 3 and said[-1][-1] == "qlora in place of lora", said


def test_changes_that_are_not_enough_are_none():
    assert way_out(setting_of("full"), 1, lambda setting: forecast_of(2)) is None


def test_full_fine_tuning_may_have_an_optimizer_of_8_bits_and_lora_a_base_of_4():
    for name, change in (
        ("full", "optimizer: adamw8bit"),
        ("lora", "qlora in place of lora"),
        ("rosa", "base: nf4"),
    ):
        way = way_out(setting_of(name), 1, lambda each, change=change: forecast_of(1 if change in each.said else 2))
        assert way is not None and way.said == (change,)


def test_a_change_of_the_method_is_another_forecast():
    setting = setting_of("lora")
    changed: list[Setting] = []
    way_out(setting, 1, lambda each: changed.append(each) or forecast_of(2))
    (quantised, *_) = [each for each in changed if "qlora in place of lora" in each.said]
    assert quantised.run.method["name"] == "qlora" and quantised.method.base_storage == "nf4"
    assert quantised.run.method["rank"] == setting.run.method["rank"]


def test_a_study_that_does_not_fit_says_what_would():
    both = tunelab.memory(STUDY, "1GiB", device="gpu").methods
    full_peak, lora_peak = (each.forecast.peak for each in both if each.forecast is not None)
    assert lora_peak < full_peak
    limit = (full_peak + lora_peak) // 2
    needed = tunelab.memory(STUDY, f"{limit / 2**20:.3f}MiB", device="gpu")
    full, lora = needed.methods
    assert (full.method, full.fits, lora.fits) == ("full", False, True)
    assert full.forecast is not None and full.forecast.train["weights, trained, float32"] == 16_000_000
    assert full.way_out is not None and full.way_out.forecast.peak <= limit + 2000
    assert "with " in str(needed)


def test_as_json_the_parts_add_up():
    needed = tunelab.memory(STUDY, "1GiB", device="gpu")
    for each in needed.as_json()["methods"]:
        assert each["peak"] == max(sum(parts.values()) for parts in each["phases"].values())


def test_what_cannot_be_told_is_said(monkeypatch):
    monkeypatch.setattr(memory, "foreseen", lambda *asked, **on: None)
    found = study_memory(load_study(STUDY), asked=asked_of("1GiB"))
    assert [each.fits for each in found.methods] == [None, None]
    assert any(note.startswith("full, lora: ") and "not told" in note for note in found.notes)
