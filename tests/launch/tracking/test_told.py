"""What trackers are told of a run: by which names, and what they are not."""

import json
import os

import pytest

from launch.tracking.tracked_run import WrittenRun
from tunelab.launch.tracking.told import (
    STEP,
    VALIDATION,
    Clock,
    ending_told,
    lines_told,
    merged,
    result_values,
    run_told,
)
from tunelab.records import PhaseCost, RunResult, Score, StepRecord, ValidationRecord
from tunelab.tracker_contract import Point, flat


@pytest.fixture
def run(tmp_path):
    written = WrittenRun(tmp_path)
    written.attempt(1)
    return written


def test_the_names_are_those_that_users_know():
    assert sorted([*STEP.values(), *VALIDATION.values()]) == [
        "eval/bits_per_token", "eval/loss", "eval/perplexity",
        "train/grad_norm", "train/learning_rate", "train/loss", "train/tokens_per_second",
    ]  # fmt: skip
    assert set(STEP) <= set(StepRecord.model_fields) and set(VALIDATION) <= set(ValidationRecord.model_fields)
    assert {"num_steps", "scores", "phases"} <= set(RunResult.model_fields)
    assert {"value", "low", "high"} <= set(Score.model_fields) and {"seconds", "peak_gib"} <= set(
        PhaseCost.model_fields
    )


def test_of_a_path_only_the_last_name_is_told_and_of_the_host_nothing(run):
    told = run_told(run.folder, "small", run.folder.attempts())
    whole = json.dumps(told.run._asdict())
    assert told.run.configuration["task_options"] == {"train": "train.jsonl", "prompt": "{question}\n"}
    assert told.run.tags["model"] == "tiny"
    assert not [word for word in ("ann", "secret", "hardware") if word in whole]


def test_tags_are_study_run_method_task_seed_back_end_and_model(run):
    told = run_told(run.folder, "small", run.folder.attempts())
    assert told.run.tags == {
        "study": "small", "run": "lora--task--seed0", "method": "lora r=2", "task": "task", "seed": "0",
        "backend": "torch", "model": "tiny",
    }  # fmt: skip
    assert flat(told.run.configuration)["method.rank"] == 2


def test_the_host_is_told_where_it_is_asked_for(run, monkeypatch):
    monkeypatch.setenv("TUNELAB_TRACK_HOST", "1")
    assert run_told(run.folder, "small", run.folder.attempts()).run.tags["host"] == "annspc"


def test_lists_of_settings_are_numbered_and_plain_ones_are_one_text():
    given = {"parents": [{"id": "a"}, {"id": "b"}], "metrics": ["bleu", "loss"], "none": None, "on": True}
    assert flat(given) == {"parents.0.id": "a", "parents.1.id": "b", "metrics": "bleu, loss", "on": True}


def test_values_that_are_not_finite_and_lines_that_are_not_whole_are_left_out():
    lines = ['{"step": 1, "loss": NaN, "grad_norm": null, "learning_rate": 0.5}', '{"step": 2, "lo', "[]"]
    assert [(each.step, each.values) for each in lines_told(lines, STEP)] == [(1, {"train/learning_rate": 0.5})]


def test_points_of_one_step_are_one_in_the_order_of_steps():
    trained = [Point(1, 0.0, {"a": 1.0}), Point(2, 0.0, {"a": 2.0})]
    assert merged(trained, [Point(2, 0.0, {"b": 3.0})]) == [trained[0], Point(2, 0.0, {"a": 2.0, "b": 3.0})]


def test_a_step_is_when_its_attempt_began_and_the_seconds_of_its_steps(run):
    run.attempt(2, at=3)
    attempts = run.folder.attempts()
    clock = Clock(0.0)
    whens = [clock.step(step, 10.0, attempts) for step in (1, 2, 3, 4, 5)]
    assert [when - whens[0] for when in whens] == [0, 10, 20, 3600, 3610]
    again = Clock(0.0)
    assert [again.step(step, 10.0, attempts) for step in (1, 2, 3, 4, 5)] == whens


def test_a_result_is_scores_with_intervals_and_costs(run):
    run.finish()
    found = ending_told(run.folder, 3)
    assert (found.ending.status, found.ending.step) == ("finished", 4)
    assert found.ending.values == {
        "test/rouge_l": 0.5, "test_interval/rouge_l_low": 0.4, "test_interval/rouge_l_high": 0.6,
        "usage/train_seconds": 12.0, "usage/train_peak_gib": 1.5, "usage/load_seconds": 1.0,
    }  # fmt: skip
    assert result_values({}) == {}


def test_a_failure_is_told_without_its_words(run):
    assert ending_told(run.folder, 3) is None
    run.fail()
    found = ending_told(run.folder, 3)
    assert (found.ending.status, found.ending.step, found.ending.values) == ("failed", 3, {})
    (run.folder.path / "failure.json").write_text(json.dumps({"error": "nan", "diverged": {"step": 3}}))
    assert ending_told(run.folder, 3).ending.status == "diverged"


def test_a_result_that_was_scored_again_has_another_digest(run):
    run.finish()
    first = ending_told(run.folder, 0)
    os.utime(run.folder.path / "result.json", (1, 1))
    assert ending_told(run.folder, 0).digest == first.digest
    run.finish(rouge=0.7)
    assert ending_told(run.folder, 0).digest != first.digest
