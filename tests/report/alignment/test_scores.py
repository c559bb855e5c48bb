"""Final metrics of two back ends: means by hand, and the words of the test of methods."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from report.study_folder import METRICS, MeanLoss, MeanOfStatistic
from report.two_ends import aligned, beside, change, change_lines, of, score, two_ends
from tunelab.entries import Deciding
from tunelab.report.alignment.scores import scores_of
from tunelab.significance.beside_best import Margin, compare

SEEDS = (0, 1, 2)


def scored(study, method="full"):
    return next(each for each in scores_of(beside(study), METRICS) if each.method == method)


def shifted(tmp_path, by, *, seeds=SEEDS, margin=None, method="full", noise=0.0):
    """Every example of jittor's runs scores so much more; `margin` in the metric's unit. `noise`: added to every other
    example and taken from those between, so that the mean stays."""
    study = two_ends(tmp_path, seeds=seeds)
    for seed in seeds:
        signs = itertools.cycle((noise, -noise))
        score(of(study, "jittor", method, seed), lambda value, signs=signs: value + by + next(signs))
    return study if margin is None else study._replace(deciding=Deciding(margin=margin))


def more_loss(place, line):
    """0.05 and 0.25 by turns, so 0.15 in the mean."""
    loss = line["statistics"]["loss"][0] + 0.05 + 0.2 * (place % 2)
    return {"statistics": line["statistics"] | {"loss": [loss, 1.0]}}


def statistics(study, backend):
    def values(file):
        return [json.loads(line)["statistics"]["rouge_l"] for line in file.read_text().splitlines()]

    return np.array([values(of(study, backend, "full", seed) / "predictions.jsonl") for seed in SEEDS])


def test_means_are_over_the_seeds_that_both_finished(tmp_path):
    study = shifted(tmp_path, 0.03)
    (of(study, "jittor", "full", 1) / "result.json").unlink()
    found = scored(study)
    mean = statistics(study, "torch")[[0, 2], :, 0].mean()
    assert found.seeds == (0, 2)
    one = found.metrics["rouge_l"]
    assert (one.first, one.other, one.value) == (pytest.approx(mean), pytest.approx(mean + 0.03), pytest.approx(0.03))
    assert one.relative == pytest.approx(0.03 / (mean + 0.03))


@pytest.mark.parametrize(
    ("by", "noise", "margin", "word"),
    [
        (0.0, 0.0, 0.2, "equal"), (0.001, 0.1, 0.2, "equal"), (-0.3, 0.1, 0.01, "different"),
        (0.3, 0.1, 0.01, "different"), (0.001, 0.1, 0.0005, "undecided"),
    ],
)  # fmt: skip
def test_words_follow_the_margin_of_the_study(tmp_path, by, noise, margin, word):
    one = scored(shifted(tmp_path, by, margin=margin, noise=noise)).metrics["rouge_l"]
    assert (one.word, one.margin) == (word, margin)
    assert one.low <= one.value <= one.high
    assert {"different": (one.low > 0) == (by > 0) and (one.high < 0) == (by < 0)}.get(word, one.low <= 0 <= one.high)


def test_a_significant_difference_below_the_margin_is_equal_and_said(tmp_path):
    study = shifted(tmp_path, 0.001, margin=0.1)
    one = scored(study).metrics["rouge_l"]
    assert (one.word, one.by_less_than_margin) == ("equal", True) and one.low > 0
    assert "margin 0.1, one is better by less than the margin)" in aligned(study).sentence


@pytest.mark.parametrize("by", [-0.02, 0.02])
def test_limits_and_words_are_those_of_two_methods_in_their_place(tmp_path, by):
    study = shifted(tmp_path, by, margin=0.1)
    one = scored(study).metrics["rouge_l"]
    base = statistics_of_base(study)
    found = compare(
        {"base": base, "full on torch": statistics(study, "torch"), "full on jittor": statistics(study, "jittor")},
        METRICS["rouge_l"], base="base", margin=Margin(None, 0.1),
    )  # fmt: skip
    behind = found.standings["full on jittor" if by < 0 else "full on torch"]
    limits = (-behind.high, -behind.low) if by < 0 else (behind.low, behind.high)
    assert (one.low, one.high) == pytest.approx(limits)
    assert {standing.word for label, standing in found.standings.items() if standing} == {
        "as good"
    } and one.word == "equal"


def statistics_of_base(study):
    lines = (of(study, "torch", "base") / "predictions.jsonl").read_text().splitlines()
    return np.array([[json.loads(line)["statistics"]["rouge_l"] for line in lines]])


def test_where_lower_is_better_the_difference_keeps_its_sign(tmp_path):
    study = two_ends(tmp_path, seeds=SEEDS)._replace(deciding=Deciding(metric="loss", margin=0.01))
    for seed in SEEDS:
        folder = of(study, "jittor", "full", seed)
        change_lines(
            folder / "predictions.jsonl",
            lambda _, line: {"statistics": line["statistics"] | {"loss": [line["statistics"]["loss"][0] + 0.5, 1.0]}},
        )
        scores = json.loads((folder / "result.json").read_text())["scores"]
        scores["loss"]["value"] += 0.5
        change(folder / "result.json", scores=scores)
    found = scored(study)
    one = found.metrics["loss"]
    assert one.word == "different" and one.value == pytest.approx(0.5) and 0 < one.low < 0.5 < one.high
    assert list(found.metrics) == ["rouge_l", "loss"], "in the task's order, whichever decides"


def test_a_metric_in_logarithms_has_limits_of_the_ratio(tmp_path):
    class Exponential(MeanOfStatistic):
        higher_is_better = False

        def aggregate(self, totals):
            return np.exp(super().aggregate(totals))

        def logarithm(self):
            return MeanLoss()

    study = two_ends(tmp_path, seeds=SEEDS)
    for seed in SEEDS:
        change_lines(of(study, "jittor", "full", seed) / "predictions.jsonl", more_loss)
    (tested,) = (
        each.metrics["loss"]
        for each in scores_of(beside(study), METRICS | {"loss": Exponential()}) if each.method == "full"
    )  # fmt: skip
    assert tested.is_ratio and 1 < tested.low < math.exp(0.15) < tested.high < math.exp(0.3)


def test_one_seed_and_the_base_are_not_tested(tmp_path):
    study = shifted(tmp_path, 0.3, seeds=(0,))
    for method in ("base", "full"):
        one = scored(study, method).metrics["rouge_l"]
        assert (one.word, one.low, one.high) == (None, None, None)
    section = aligned(study)
    assert (
        "whether jittor and torch agree on rouge_l was not tested (not tested (one seed) for full and lora r=4; "
        in (section.headline)
    )


def test_the_table_has_a_row_a_back_end_the_difference_and_the_word(tmp_path):
    study = shifted(tmp_path, -0.3, margin=0.01)
    table = next(part.table for part in aligned(study).parts if part.heading == "Final metrics: full")
    assert [column.title for column in table.columns] == ["Back end", "rouge_l ↑", "loss ↓"]
    assert [row[0].text for row in table.rows] == ["torch", "jittor", "difference", "beside the margin"]
    one = scored(study).metrics["rouge_l"]
    assert [row[1].text for row in table.rows] == [f"{one.first:.4f}", f"{one.other:.4f}", "−0.3000", "different"]
    assert table.rows[2][1].below.startswith("[−0.") and table.rows[3][1].below == "margin 0.01"
    assert table.rows[3][1].tone == "bad" and table.rows[3][2].tone == "best"
    assert "Means over seeds 0, 1, 2, finished on both." in table.feet


def test_without_statistics_nothing_is_tested_and_the_means_stay(tmp_path):
    study = two_ends(tmp_path)
    found = next(each for each in scores_of(beside(study), {}) if each.method == "full")
    assert found.metrics["rouge_l"].first is not None and not found.is_tested


@pytest.mark.parametrize(
    ("by", "noise", "margin", "said"),
    [
        (0.0, 0.0, 0.2, "jittor and torch agree on rouge_l (equal within the margin for full and lora r=4; the means "
                        "are the same)"),
        (-0.3, 0.0, 0.01, "jittor and torch differ on rouge_l (different for full; "),
        (0.001, 0.1, 0.0005, "whether jittor and torch agree on rouge_l is undecided (undecided for full"),
        (0.002, 0.0, 0.2, "jittor and torch agree on rouge_l (equal within the margin for full and lora r=4; apart by "
                          "0.0020 at most, of full)"),
    ],
)  # fmt: skip
def test_the_headline_says_no_more_than_was_tested(tmp_path, by, noise, margin, said):
    section = aligned(shifted(tmp_path, by, margin=margin, noise=noise))
    assert section.headline.startswith(f"On restaurants, {said}")
    assert section.headline.endswith("; the loss of a step differs by 0 relative at most.")


def test_a_metric_that_does_not_decide_and_differs_is_in_the_headline(tmp_path):
    study = shifted(tmp_path, 0.3)._replace(deciding=Deciding(metric="loss"))
    section = aligned(study)
    assert "jittor and torch agree on loss" in section.headline
    assert "; but different: rouge_l of full (+0.3000 [" in section.headline
