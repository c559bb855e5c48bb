"""Two trainings step by step: values by hand."""

from __future__ import annotations

import math

import pytest

from report.two_ends import aligned, beside, change, change_lines, of, set_series, two_ends
from tunelab.report.alignment.pairs import paired
from tunelab.report.alignment.steps import Apart, apart, same_texts, speed_of, step_by_step, together


def pair_of(study, method="full", seed=0):
    return next(pair for pair in paired(beside(study)).pairs if (pair.method, pair.seed) == (method, seed))


def test_losses_are_relative_to_the_larger_and_gradient_norms_absolute(tmp_path):
    study = two_ends(tmp_path)
    set_series(of(study, "torch", "full") / "steps.jsonl", loss=[2.0, 1.0, 4.0, 0.0], grad_norm=[1.0, 1.0, 2.0, 2.0])
    set_series(of(study, "jittor", "full") / "steps.jsonl", loss=[2.0, 1.25, 3.8, 0.0], grad_norm=[1.5, 1.0, 2.0, 1.9])
    found = step_by_step(pair_of(study))
    assert found.loss == Apart(4, pytest.approx(0.2), 2, pytest.approx((0.2 + 0.05) / 4), 0.0)
    assert found.grad_norm == Apart(4, 0.5, 1, pytest.approx(0.15), 0.5)
    assert (found.num_first, found.num_other, found.is_whole) == (4, 4, True)
    assert (found.num_other_tokens, found.num_other_rate) == (0, 0)


def test_validation_is_compared_at_the_steps_that_both_have_and_perplexity_is_its_exponential(tmp_path):
    study = two_ends(tmp_path)
    set_series(of(study, "torch", "full") / "validation.jsonl", step=[10, 20, 30], loss=[3.0, 2.0, 1.0])
    set_series(of(study, "jittor", "full") / "validation.jsonl", step=[10, 20, 40], loss=[3.0, 1.9, 0.5])
    found = step_by_step(pair_of(study))
    assert found.validation == Apart(2, pytest.approx(0.05), 20, pytest.approx(0.025), 0.0)
    assert found.perplexity == (math.exp(2.0), math.exp(1.9))


def test_a_step_that_was_done_again_counts_as_done_last(tmp_path):
    study = two_ends(tmp_path)
    set_series(of(study, "torch", "full") / "steps.jsonl", loss=[2.0, 1.0])
    set_series(of(study, "jittor", "full") / "steps.jsonl", step=[1, 2, 2], loss=[2.0, 9.0, 1.0])
    assert step_by_step(pair_of(study)).loss == Apart(2, 0.0, 1, 0.0, 0.0)


def test_another_number_of_steps_is_said(tmp_path):
    study = two_ends(tmp_path)
    set_series(of(study, "jittor", "full") / "steps.jsonl", loss=[1.0] * 57)
    found = step_by_step(pair_of(study))
    assert found.loss.num_steps == 57 and (found.num_first, found.num_other, found.is_whole) == (60, 57, False)
    section = aligned(study)
    table = next(part.table for part in section.parts if part.heading.startswith("Losses"))
    row = next(row for row in table.rows if row[0].text == "full" and row[1].text.startswith("seed 0"))
    assert (row[2].text, row[2].below, row[2].tone) == ("57", "torch 60, jittor 57", "bad")
    assert "In 1 of 4 pairs the two have different numbers of steps." in section.sentence


def test_other_tokens_or_rates_at_a_step_are_said(tmp_path):
    study = two_ends(tmp_path)
    change_lines(
        of(study, "jittor", "full") / "steps.jsonl",
        lambda place, _: {"num_supervised_tokens": 399} if place < 2 else {"learning_rate": 1e-4} if place == 5 else {},
    )
    found = step_by_step(pair_of(study))
    assert (found.num_other_tokens, found.num_other_rate) == (2, 1)
    section = aligned(study)
    feet = " ".join(foot for part in section.parts for foot in part.table.feet)
    assert "full, seed 0, learning rate 2e-4: at 2 steps the two did not see equally many tokens" in feet
    assert "at 1 steps their learning rates differ" in feet
    assert "In 1 of 4 pairs they did not see the same numbers of tokens." in section.sentence


def test_a_loss_that_is_not_finite_in_one_alone_is_infinitely_far():
    assert apart({1: 1.0, 2: math.inf}, {1: 1.0, 2: 5.0}, relative=True).largest == math.inf
    assert apart({1: math.inf}, {1: math.inf}, relative=True).largest == 0.0
    assert apart({1: 1.0}, {2: 1.0}, relative=True) is None


def test_of_several_runs_every_step_counts_once():
    found = together([Apart(10, 0.5, 3, 0.1, 0.0), None, Apart(30, 0.2, 7, 0.02, 0.1)])
    assert found == Apart(40, 0.5, 3, pytest.approx((1.0 + 0.6) / 40), 0.1)
    assert together([None]) is None


def test_the_first_step_stands_apart_from_the_median_of_those_after_the_third(tmp_path):
    study = two_ends(tmp_path)
    set_series(of(study, "jittor", "full") / "steps.jsonl", seconds=[9.0, 5.0, 5.0, 2.0, 4.0, 7.0])
    speed = speed_of(pair_of(study).other)
    assert (speed.first_step_ms, speed.step_ms) == (9000.0, 4000.0)
    assert (speed.train_seconds, speed.total_seconds, speed.peak_gib) == (62.0, pytest.approx(72.6), 1.9)


def test_time_and_memory_are_of_both_with_their_ratio(tmp_path):
    study = two_ends(tmp_path, seeds=(0,))
    for method in ("full", "lora r=4"):
        change_lines(
            of(study, "jittor", method) / "steps.jsonl", lambda place, line: {"seconds": 1.0 if place else 6.0}
        )
    change(of(study, "jittor", "full") / "result.json", tokens_per_second=435.48)
    table = next(part.table for part in aligned(study).parts if part.heading == "Time and memory")
    lines = [[cell.text for cell in row] for row in table.rows][:3]
    assert lines == [
        ["full", "torch", "500", "500", "871", "62.0 s", "72.6 s", "1.90 GiB"],
        ["full", "jittor", "6,000", "1,000", "435", "62.0 s", "72.6 s", "1.90 GiB"],
        ["full", "jittor / torch", "12x", "2.0x", "0.50x", "1.0x", "1.0x", "1.0x"],
    ]


def test_texts_are_counted_that_are_the_same_letter_for_letter(tmp_path):
    study = two_ends(tmp_path, num_examples=10)
    change_lines(
        of(study, "jittor", "full") / "predictions.jsonl",
        lambda place, line: {"prediction": None} if place == 0 else {"prediction": "x"} if place < 3 else {},
    )
    assert same_texts([pair_of(study), pair_of(study, seed=1)]) == (17, 19)
