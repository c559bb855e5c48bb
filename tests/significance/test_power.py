"""What would decide about an undecided method: planned seeds and examples."""

import numpy as np
import pytest

from significance.test_intervals import MEAN, with_ones
from tunelab.significance.beside_best import compare
from tunelab.significance.power import needed


def plan(lacks, *, margin=None, per_seed=0.0, over_examples=0.0, seeds=3, examples=100, critical=1.96):
    return needed(
        lacks, margin=margin, above=critical, below=critical, per_seed=per_seed, over_examples=over_examples,
        num_seeds=seeds, num_examples=examples,
    )  # fmt: skip


def test_needed_examples_equal_the_textbook_count():
    # d_z = 0.3, two-sided 5 %, power 80 %: (1.960 + 0.8416)^2 / 0.09 = 87.2
    assert plan(0.3, over_examples=1 / 50, examples=50).examples == 88


def test_needed_seeds_are_those_with_which_the_error_is_small_enough():
    # w = 0.3 / 2.8016 = 0.10708 is to be reached: 0.04 / (0.10708^2 - 0.01) = 27.3
    found = plan(0.3, per_seed=0.04, over_examples=0.01)
    assert found.seeds == 28 and found.examples is None and found.times is None


def test_the_margin_decides_where_it_is_nearer_than_zero_is_far():
    as_good = plan(0.01, margin=0.31, over_examples=1 / 50, examples=50)
    assert as_good.examples == 88


def test_where_neither_alone_is_enough_both_must_grow():
    found = plan(0.1, per_seed=0.03, over_examples=0.01)
    assert (found.seeds, found.examples) == (None, None)
    assert found.times == pytest.approx((0.01 + 0.01) / (0.1 / 2.8016) ** 2, rel=1e-3)


def test_nothing_can_be_planned_for_no_difference_without_a_margin():
    assert plan(0.0, over_examples=0.01) is None


def test_so_many_seeds_do_decide_in_8_of_10():
    """From the needed number for known variances: two methods whose seeds alone differ."""
    found = plan(0.15, per_seed=2 * 0.1**2, critical=1.8, seeds=2)  # Student's t with some 12 degrees of freedom
    decided = 0
    for number in range(200):
        draw = np.random.default_rng(number)
        runs = {
            label: with_ones(mean + 0.1 * draw.normal(size=(found.seeds, 1)) + np.zeros((found.seeds, 20)))
            for label, mean in (("full", 0.15), ("lora", 0.0))
        }
        decided += compare(runs, MEAN, resamples=400).standings["lora"].word == "worse"
    assert found.seeds == 7 and 0.7 <= decided / 200 <= 0.92
