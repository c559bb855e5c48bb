"""Simulated truth: how often intervals hold it, and how often a study's words are wrong.

A small part of benchmarks/decisions.py, whose tables docs/decisions.md quotes.
"""
# S seeds, N examples

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tunelab.significance.intervals import interval, intervals
from tunelab.significance.resampling import resampled_scores

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "benchmarks" / "decisions.py"


def load():
    spec = importlib.util.spec_from_file_location("decisions", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["decisions"] = module
    spec.loader.exec_module(module)
    return module


decisions = load()
STUDIES = 150
MOST = 0.05 + 2.5 * (0.05 * 0.95 / STUDIES) ** 0.5
"""Of `STUDIES`, a share that a rate of 5 % exceeds once in 160 times."""


def coverage(effects, *, methods, seeds, studies, of=intervals):
    draw = np.random.default_rng([1, methods, seeds])
    held = []
    for number in range(studies):
        runs = decisions.runs(draw, effects, methods=methods, seeds=seeds, lack=0.0)
        found = of({label: each for label, each in runs.items() if label != "base"}, decisions.Mean(), seed=number)
        held.append([one.low <= 0 <= one.high for one in found.values()])
    return float(np.mean(held))


def seeds_drawn(statistics, metric, *, seed):
    """What intervals.py does not do: seeds, too, are drawn with replacement."""
    found = {}
    for label, runs in statistics.items():
        replicates = resampled_scores(runs, metric, resamples=1000, seed=seed)
        drawn = np.random.default_rng(seed).integers(0, len(runs), size=replicates.shape)
        low, high = np.quantile(np.take_along_axis(replicates, drawn, axis=1).mean(axis=1), [0.025, 0.975])
        found[label] = interval(runs, metric)._replace(low=low, high=high)
    return found


@pytest.mark.parametrize(("name", "seeds"), [("equal", 2), ("equal", 3), ("large", 3)])
def test_intervals_of_methods_that_scatter_alike_hold_the_truth(name, seeds):
    found = coverage(decisions.SCENARIOS[name], methods=4, seeds=seeds, studies=150)
    assert 0.93 <= found <= 0.995


def test_one_seed_interval_holds_the_truth_in_95_of_100():
    found = coverage(decisions.SCENARIOS["no seed variance"], methods=4, seeds=1, studies=150)
    assert 0.92 <= found <= 0.98


def test_drawing_seeds_with_replacement_would_be_too_narrow():
    found = coverage(decisions.normal(6.0), methods=4, seeds=3, studies=60, of=seeds_drawn)
    assert found < 0.88


@pytest.mark.parametrize(("name", "methods", "seeds"), [
    ("no seed variance", 5, 3), ("equal", 2, 2), ("equal", 13, 3), ("large", 5, 3),
    ("one method three times the others", 5, 2), ("all bimodal", 5, 3), ("one bimodal, and its seeds show it", 5, 3),
])  # fmt: skip
def test_of_100_studies_5_at_most_say_a_wrong_word(name, methods, seeds):
    found = decisions.rates(decisions.SCENARIOS[name], methods=methods, seeds=seeds, studies=STUDIES)
    assert found.false_worse <= 100 * MOST and found.false_as_good <= 100 * MOST
    assert found.out_of_order == 0


def test_words_are_decided_where_seeds_are_enough():
    found = decisions.rates(decisions.SCENARIOS["equal"], methods=5, seeds=5, studies=30)
    assert found.told_as_good > 80 and found.told_worse > 95
