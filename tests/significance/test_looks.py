"""What looks at the data cost."""

import math
from statistics import NormalDist

import pytest

from tunelab.significance.looks import TOTAL, Taken, next_level, spent


def looks(seeds, most):
    taken = []
    for each in seeds:
        taken.append(Taken(each, next_level(taken, each, most)))
    return [look.level for look in taken]


def test_all_is_spent_at_the_most_seeds_and_a_share_before():
    assert spent(10, 10) == pytest.approx(TOTAL) == pytest.approx(0.035)
    assert spent(5, 10) == pytest.approx(TOTAL * math.log(1 + (math.e - 1) / 2))
    assert spent(12, 10) == pytest.approx(TOTAL), "never more"


def test_one_look_at_the_end_costs_nothing_more():
    assert looks([10], 10)[0] == pytest.approx(TOTAL, rel=0.02)


def test_five_equal_looks_have_the_published_bounds():
    """Lan and DeMets' Pocock type, one-sided 2.5 %, five looks: bounds 2.438, 2.427, 2.410, 2.397, 2.386 (Jennison and
    Turnbull 2000, and the programs after them)."""
    taken = []
    for seeds in range(1, 6):
        taken.append(Taken(seeds, next_level(taken, seeds, 5, level=0.025)))
    bounds = [NormalDist().inv_cdf(1 - look.level) for look in taken]
    assert bounds == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=0.03)


def test_a_second_look_at_the_same_seeds_may_say_nothing_new():
    taken = [Taken(3, next_level([], 3, 10))]
    assert next_level(taken, 3, 10) < 0.1 * taken[0].level


def test_more_most_seeds_make_early_looks_stricter():
    assert looks([3, 4, 5], 20)[0] < looks([3, 4, 5], 5)[0]
