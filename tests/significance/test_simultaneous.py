"""Simultaneous limits and step-down from a few draws, calculated by hand; equal methods."""

import numpy as np
import pytest

from tunelab.significance.beside_best import _in_order
from tunelab.significance.simultaneous import limits

EQUAL = 1.0 + np.array([0.0, 2e-16, -2e-16])
"""Differ by rounding in the last place alone."""


def errors(num: int, value: float = 1.0) -> np.ndarray:
    return np.full((num, num), value)


def drawn(leads: np.ndarray) -> np.ndarray:
    """R x 2: draws of two methods of which the first leads by so much."""
    return np.stack([leads / 2, -leads / 2], axis=1)


def test_two_methods_by_hand():
    """Leads of 1 to 21 less their mean 11 are -10 to 10, over errors of 2 -5 to 5 in halves: nine tenths of them are
    below 4, and of their sizes below 4.5. The means differ by 3, which is 1.5 errors."""
    found = limits(np.array([3.0, 0.0]), drawn(np.arange(1.0, 22.0)), errors(2, 2.0), level=0.1)
    assert found.above == pytest.approx([4.0, 4.0]) and found.below == pytest.approx([4.5, 4.5])
    assert found.upper == pytest.approx([-3 + 4 * 2, 3 + 4 * 2])
    assert found.lower == pytest.approx([-3 - 4.5 * 2, 3 - 4.5 * 2])
    assert not found.better.any() and found.nearest_rival.tolist() == [1, 0]


def test_a_lead_beyond_the_quantile_is_significant():
    """4.75 errors. The second is worse and leaves; that the first is the best is then tested alone, one-sided."""
    found = limits(np.array([9.5, 0.0]), drawn(np.arange(1.0, 22.0)), errors(2, 2.0), level=0.1)
    assert found.below == pytest.approx([4.0, 4.5])
    assert found.lower == pytest.approx([-9.5 - 4 * 2, 9.5 - 4.5 * 2])
    assert found.better.tolist() == [[False, True], [False, False]]
    assert found.upper == pytest.approx([0.0, 9.5 + 4 * 2]), "never below 0: the best lacks nothing"


def stepped_down(means, draws, errors, level) -> tuple[set[int], list[float]]:
    """By the definition: who may be the best is tested until nobody more is found worse; each with its quantile."""
    centred, methods = draws - draws.mean(axis=0), range(len(means))
    left, quantiles = set(methods), [0.0] * len(means)
    while left:
        largest = [max((row[k] - row[m]) / errors[k, m] for m in left for k in methods if k != m) for row in centred]
        critical = float(np.quantile(largest, 1 - level))
        worse = {m for m in left if max((means[k] - means[m]) / errors[k, m] for k in methods if k != m) > critical}
        for m in worse or left:
            quantiles[m] = critical
        left -= worse
        if not worse:
            break
    return set(methods) - left, quantiles


def test_step_down_is_its_definition():
    steps = set()
    for key in range(12):
        generator = np.random.default_rng(key)
        means, draws = generator.normal(size=4) * 4, generator.normal(size=(120, 4)) * generator.uniform(0.5, 2, size=4)
        apart = errors(4, 1.5)
        found, (worse, quantiles) = limits(means, draws, apart, level=0.1), stepped_down(means, draws, apart, 0.1)
        assert found.below == pytest.approx(quantiles)
        assert {int(m) for m in np.flatnonzero(found.better.any(axis=0))} == worse
        steps.add(len(set(quantiles)))
    assert steps >= {1, 2}, "no case of several steps"


def test_all_methods_together_need_more_than_two():
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(4000, 6))
    few, many = (limits(np.zeros(num), draws[:, :num], errors(num, 2**0.5), level=0.05) for num in (2, 6))
    assert few.above[0] == pytest.approx(1.645, abs=0.08), "one-sided, of one normal difference"
    assert many.above[0] > few.above[0] + 0.4 and many.below[0] > few.below[0] + 0.4


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_equal_methods_are_ties_whatever_rounding_says(order):
    draws = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 3, axis=1)
    found = limits(EQUAL[order], draws, np.zeros((3, 3)), level=0.05)
    assert (found.ahead == 0).all() and not found.better.any()
    assert (found.lower <= 0).all() and found.upper == pytest.approx(np.zeros(3), abs=1e-9)


def test_with_no_level_left_nothing_is_claimed():
    found = limits(np.array([3.0, 0.0]), drawn(np.arange(21.0)), errors(2), level=0.0)
    assert np.isinf(found.upper).all() and np.isneginf(found.lower).all() and not found.better.any()


def test_one_method_alone_lacks_nothing():
    found = limits(np.array([3.0]), np.arange(9.0)[:, None], errors(1), level=0.05)
    assert found.upper.tolist() == [0.0] and not found.better.any()


@pytest.mark.parametrize(
    ("means", "good", "worse", "words"),
    [
        ([3, 2, 1], [1, 1, 0], [0, 0, 1], ["as good", "as good", "worse"]),
        ([3, 2, 1], [0, 1, 0], [0, 0, 0], ["undecided"] * 3),  # not while a better mean is not
        ([3, 2, 1], [1, 0, 1], [0, 1, 0], ["as good", "undecided", "undecided"]),  # nor worse while a lower one is not
        ([2, 2, 1], [0, 1, 0], [0, 0, 1], ["undecided", "as good", "worse"]),  # of equal means whoever can be told
        ([2, 2, 1], [1, 0, 0], [0, 0, 1], ["as good", "undecided", "worse"]),
        ([3, 1, 1], [1, 0, 0], [0, 1, 0], ["as good", "worse", "undecided"]),
        ([3, 1, 1], [1, 0, 0], [0, 0, 1], ["as good", "undecided", "worse"]),
        ([3, 3], [1, 1], [1, 1], ["as good", "as good"]),
    ],
)
def test_words_in_the_order_of_the_means_and_among_ties(means, good, worse, words):
    found = _in_order(np.array(means, float), np.array(good, bool), np.array(worse, bool))
    assert found == words
