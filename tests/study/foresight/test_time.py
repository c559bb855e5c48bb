"""The time of a study before it starts: its own rows, by steps, passes over validation and texts, at given rates."""

from __future__ import annotations

import json
import math

import pytest

import tunelab
from tunelab.api.studies import load_study
from tunelab.computation.effort import Effort, Product, Shape
from tunelab.entries import Efforts
from tunelab.errors import ConfigError
from tunelab.launch.control.time_text import time_text, total
from tunelab.study.foresight import lengths as rows_of
from tunelab.study.foresight import time
from tunelab.study.foresight.duration import Duration, duration, tokens
from tunelab.study.foresight.lengths import Lengths, lengths, unknown_lengths
from tunelab.study.foresight.time import study_time
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import method_run

ROWS = {"name": "restaurants", "train_rows": 40, "validation_rows": 8, "test_rows": 10}
STUDY = {"model": "tunelab/tiny", "tasks": [ROWS], "methods": ["lora"], "batch": {"examples": 8, "max_tokens": 256}}


class PerToken:
    """A product of a token takes a second."""

    operation_seconds = module_seconds = 0.0
    overlaps = False

    def product_seconds(self, shape, dtype):
        return float(shape.rows)

    def pass_rate(self, function, dtype, num_bytes):
        return math.inf


def efforts(*, rows=((10, 5, 0),), update=0, first=10, padded=False) -> Efforts:
    """A pass takes a second a token; losses a half."""

    def of(number: int, inputs: int) -> Effort:
        return Effort(((Product("fp32", Shape(number, inputs, 1)), 1),) if number else ())

    total = tokens(rows, padded=padded)
    passes = {"micro_batch": of(total, 1), "losses": of(total, 4)}
    return Efforts(rows=rows, padded=padded, update=of(update, 2), first=of(first, 3), **passes)


def run_of(study=STUDY, **options):
    plan = load_study({**study, **options})
    (planned,) = plan.methods
    run = method_run(
        plan, plan.tasks[0], "torch", Revisions(max_tokens=256), method=planned, seed=0,
        candidate=planned.candidates[0],
    )  # fmt: skip
    return plan, run, planned.method


def test_steps_are_as_long_as_their_rows():
    plan, run, method = run_of(budget={"epochs": 2})
    rows = lengths(plan.tasks[0].task, run)
    assert rows is not None and (len(rows.train), len(rows.validation), rows.guessed) == (40, 8, "")
    took = duration(run, method, [efforts(update=7)], rows, PerToken(), reads={"likelihood"})
    total = sum(row.num_tokens for row in rows.train)
    assert took.steps == 10
    assert took.train == pytest.approx(2 * total + 10 * 7)
    assert took.step == pytest.approx(took.train / 10)
    # A quarter of an epoch is a step or so between two passes: every step, here.
    every = max(1, round(run.validation.every * 5))
    passes = math.ceil(10 / every)
    assert took.validation == pytest.approx(passes * sum(row.num_tokens for row in rows.validation))
    assert took.evaluation == pytest.approx(sum(row.num_tokens for row in rows.test))


def test_padded_rows_count_with_their_padding():
    plan, run, method = run_of(budget={"epochs": 1}, batch={"examples": 40, "max_tokens": 4096})
    rows = lengths(plan.tasks[0].task, run)
    assert rows is not None
    plain, padded = (
        duration(run, method, [efforts(rows=((10, 5, 0), (4, 2, 0)), padded=each)], rows, PerToken(), reads=set())
        for each in (False, True)
    )
    assert plain.train < padded.train < 40 * max(row.num_tokens for row in rows.train)
    assert plain.evaluation == padded.evaluation == 0


def test_what_is_made_once_in_a_while_is_made_again_after_its_gap():
    _, run, method = run_of(methods=[{"galore": {"update_gap": 4}}], budget={"steps": 10})
    rows = Lengths([*unknown_lengths(run).train], (), (), (), ())
    often, never = (
        duration(run, method, [efforts(first=10 + extra)], rows, PerToken(), reads=set()).train for extra in (6, 0)
    )
    assert often - never == pytest.approx(3 * 6)


def test_texts_are_prompts_and_then_a_token_of_each_at_a_time():
    plan, run, method = run_of(generation={"max_new_tokens": 20}, budget={"steps": 1})
    base = lengths(plan.tasks[0].task, run)
    assert base is not None
    rows = base._replace(validation=(), prompts=(5, 5, 6), answers=(3, 7, 2))
    took = duration(run, method, [efforts()], rows, PerToken(), reads={"text"})
    assert took.evaluation == pytest.approx(16 + 8 * 3)
    long = duration(run, method, [efforts()], rows._replace(answers=(90,) * 3), PerToken(), reads={"text"})
    assert long.evaluation == pytest.approx(16 + 20 * 3)


def test_of_parts_one_after_the_other_the_mean():
    plan, run, method = run_of(budget={"steps": 4})
    rows = lengths(plan.tasks[0].task, run)
    assert rows is not None
    one, other, both = (
        duration(run, method, parts, rows, PerToken(), reads=set()).train
        for parts in ([efforts()], [efforts(update=10)], [efforts(), efforts(update=10)])
    )
    assert both == pytest.approx((one + other) / 2)


# ------------------------------------------------------------------ lengths


def test_without_a_tokenizer_characters_are_counted(monkeypatch):
    plan, run, _ = run_of()
    known = lengths(plan.tasks[0].task, run)
    monkeypatch.setattr(rows_of, "text_folder", lambda model: None)
    guessed = lengths(plan.tasks[0].task, run)
    assert known is not None and guessed is not None
    assert "4 characters count as a token" in guessed.guessed
    assert [len(rows) for rows in guessed[:3]] == [len(rows) for rows in known[:3]]
    real, told = (sum(row.num_tokens for row in found.train) for found in (known, guessed))
    assert 0.6 < told / real < 1.6
    assert all(0 < row.num_supervised < row.num_tokens for row in guessed.train)


def test_data_that_is_not_here_is_not_asked_for():
    plan, run, _ = run_of(tasks=["e2e_nlg"])
    assert lengths(plan.tasks[0].task, run) is None
    plan, run, _ = run_of(tasks=["instructions"])
    assert lengths(plan.tasks[0].task, run) is None


# ------------------------------------------------------------------ a study


def test_a_study_on_a_gpu_that_is_not_here():
    plan = load_study({**STUDY, "methods": ["lora", {"full": {"learning_rate": [1e-4, 1e-3]}}], "seeds": [0, 1]})
    slow, fast = (study_time(plan, device=name) for name in ("t4", "h100"))
    assert [(each.method, each.num_runs) for each in fast.methods] == [("lora", 2), ("full", 3)]
    assert 0 < fast.seconds <= slow.seconds
    assert any("50% of the published products" in note for note in fast.notes)
    one = fast.methods[1]
    assert one.duration is not None and one.all == 3 * one.duration.all
    facts = json.loads(json.dumps(fast.as_json()))
    assert facts["seconds"] == fast.seconds and facts["methods"][0]["steps"] == one.duration.steps
    text = time_text(fast, width=80)
    assert "predicted time on h100 (an estimate)" in text and max(map(len, text.splitlines())) <= 80


def test_money_and_energy_are_of_all_runs():
    plan = load_study({**STUDY, "decision": {"price_per_hour": "3EUR/h", "power_watts": 700}})
    found = study_time(plan, device="h100")
    assert found.price == pytest.approx(found.seconds / 1200)
    assert found.energy == pytest.approx(found.seconds * 700 / 3600)
    assert "EUR" in time_text(found) and "kWh" in time_text(found)


def test_unknown_data_is_told_by_its_steps():
    study = {"model": "tunelab/tiny", "tasks": ["e2e_nlg"], "methods": ["lora"]}
    nothing = study_time(load_study(study), device="t4")
    (untold,) = nothing.methods
    assert untold.duration is None and total(nothing) == "The time of none of these methods can be told."
    mixed = nothing._replace(methods=(untold, untold._replace(duration=Duration(3, 1.0, 3.0, 0.5, 0.5))))
    assert total(mixed).startswith("All runs of the methods with a time: 12.0 s")
    found = study_time(load_study({**study, "budget": {"steps": 3}, "batch": {"examples": 2}}), device="t4")
    (told,) = found.methods
    assert told.duration is not None and told.duration.steps == 3
    assert any("as long as batch.max_length" in note for note in found.notes)


def test_no_such_device():
    plan = load_study(STUDY)
    with pytest.raises(ConfigError, match="h10.*h100"):
        study_time(plan, device="h10")
    with pytest.raises(ConfigError, match=r"--device gpu: torch sees no GPU here"):
        study_time(plan, device="gpu")


def test_this_machine_by_its_calibration(monkeypatch):
    asked = []
    monkeypatch.setattr(time, "machine_speed", lambda forecasts, *, threads: asked.append(threads) or PerToken())
    found = tunelab.time({**STUDY, "threads": 3})
    assert asked == [3] and found.seconds > 0
    (row,) = found.to_pandas().to_dict("records")
    assert row["all"] == found.seconds
