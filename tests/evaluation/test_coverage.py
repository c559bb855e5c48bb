"""Simulated truth is 0: how often the interval holds it, and how often equal methods are called different.

`python tests/evaluation/test_coverage.py` prints the table that significance.py quotes (some ten minutes).
"""
# S seeds, N examples

from typing import NamedTuple

import numpy as np
import pytest

from evaluation.test_significance import Mean
from tunelab.evaluation.resampling import resampled_scores
from tunelab.evaluation.significance import LEVEL, Interval, intervals, paired_test

pytestmark = pytest.mark.slow

MEAN = Mean()
"""Its aggregate is the mean of the first statistic."""
NUM_EXAMPLES = 200
RESAMPLES = 1000
SIDE_BY_SIDE = 50


class Variances(NamedTuple):
    """Of a seed's and of an example's effect on the score, in units of var(e)/N."""

    seed: float
    examples: float


USUAL = (Variances(0.0, 0.3), Variances(0.3, 0.3), Variances(1.0, 0.3))
HARD = (Variances(4.0, 0.02), Variances(8.0, 0.02), Variances(30.0, 0.02))


def example_effects(draw, variance):
    return draw.normal(size=NUM_EXAMPLES) * (variance * NUM_EXAMPLES) ** 0.5


def simulated(draw, *, seeds, variances, shared=0.0, noise=1.0):
    """S x N x 2 with true score 0; `shared`: example effects that several methods have in common."""
    own = example_effects(draw, variances.examples)
    seed_effects = draw.normal(size=(seeds, 1)) * variances.seed**0.5
    values = shared + own + seed_effects + noise * draw.normal(size=(seeds, NUM_EXAMPLES)) * NUM_EXAMPLES**0.5
    return np.stack([values, np.ones_like(values)], axis=-1)


def coverage(*, seeds, variances, simulations, intervals_of=intervals):
    """Share of simulations whose interval holds the truth; of three seeds or more, or of one method alone."""
    draw = np.random.default_rng(1)
    held = 0
    if seeds == 2:
        return pooled_coverage(methods=(variances,), simulations=simulations, intervals_of=intervals_of)[0]
    for number in range(simulations // SIDE_BY_SIDE):
        # Simulations are independent methods to the function, which shares draws between them: much faster.
        runs = {str(label): simulated(draw, seeds=seeds, variances=variances) for label in range(SIDE_BY_SIDE)}
        found = intervals_of(runs, MEAN, resamples=RESAMPLES, seed=number)
        held += sum(one.low <= 0 <= one.high for one in found.values())
    return held / simulations


def pooled_coverage(*, methods, simulations, seeds=2, intervals_of=intervals):
    """The same, for each of several methods that are compared with each other."""
    draw = np.random.default_rng(1)
    held = np.zeros(len(methods))
    for number in range(simulations):
        runs = {
            str(label): simulated(draw, seeds=seeds, variances=variances) for label, variances in enumerate(methods)
        }
        found = intervals_of(runs, MEAN, resamples=RESAMPLES, seed=number)
        held += [one.low <= 0 <= one.high for one in found.values()]
    return held / simulations


def false_differences(*, seeds, variances, simulations, against_one_seed=False):
    """Share of simulations in which two methods of equal true score differ significantly."""
    draw = np.random.default_rng(2)
    called = 0
    for number in range(simulations):
        shared = example_effects(draw, 1.0)
        first = simulated(draw, seeds=seeds, variances=variances, shared=shared)
        if against_one_seed:
            # The base is deterministic: it has effects of examples and nothing else.
            second = simulated(draw, seeds=1, variances=Variances(0.0, variances.examples), shared=shared, noise=0.0)
        else:
            second = simulated(draw, seeds=seeds, variances=variances, shared=shared)
        called += paired_test(first, second, MEAN, resamples=RESAMPLES, seed=number).p < LEVEL
    return called / simulations


def intervals_with_seeds_drawn(statistics, metric, *, resamples, seed):
    """What significance.py does not do: seeds, too, are drawn with replacement."""
    found = {}
    for label, runs in statistics.items():
        replicates = resampled_scores(runs, metric, resamples=resamples, seed=seed)
        drawn = np.random.default_rng([seed, int(label)]).integers(0, len(runs), size=replicates.shape)
        low, high = np.quantile(np.take_along_axis(replicates, drawn, axis=1).mean(axis=1), [0.025, 0.975])
        found[label] = Interval(None, low, high, *runs.shape[:2])
    return found


def test_one_seed_interval_holds_the_truth_in_95_of_100():
    found = coverage(seeds=1, variances=Variances(0.0, 0.0), simulations=1000)
    assert 0.93 <= found <= 0.97


def test_one_seed_test_calls_equal_methods_different_in_5_of_100():
    found = false_differences(seeds=1, variances=Variances(0.0, 0.3), simulations=1000)
    assert found <= 0.065


@pytest.mark.parametrize(("variances", "low", "high"), [(USUAL[1], 0.95, 0.985), (HARD[1], 0.94, 0.985)])
def test_three_seeds_of_methods_that_vary_alike_hold_the_truth_as_stated(variances, low, high):
    assert low <= coverage(seeds=3, variances=variances, simulations=1000) <= high


def test_two_seeds_of_methods_that_vary_alike_hold_the_truth():
    found = pooled_coverage(methods=(HARD[1],) * 3, simulations=500)
    assert 0.93 <= found.mean() <= 0.975


def test_two_seeds_of_a_method_that_varies_three_times_as_much_hold_it_as_stated():
    found = pooled_coverage(methods=(HARD[0], HARD[0]._replace(seed=9 * HARD[0].seed)), simulations=500)
    assert found[0] >= 0.95
    assert 0.85 <= found[1] <= 0.95


def test_drawing_seeds_with_replacement_would_be_too_narrow():
    found = coverage(seeds=3, variances=HARD[2], simulations=200, intervals_of=intervals_with_seeds_drawn)
    assert found < 0.88


@pytest.mark.parametrize("variances", [USUAL[2], HARD[0]])
def test_three_seed_test_keeps_its_level(variances):
    assert false_differences(seeds=3, variances=variances, simulations=250) <= 0.065


if __name__ == "__main__":
    for seeds in (1, 2, 3, 5):
        for variances in (*USUAL, *HARD) if seeds > 1 else (Variances(0.0, 0.3),):
            case = {"seeds": seeds, "variances": variances, "simulations": 2000}
            print(
                f"{seeds} seeds, {variances}: coverage {coverage(**case):.1%}",
                f"seeds drawn {coverage(**case, intervals_of=intervals_with_seeds_drawn):.1%}",
                f"false {false_differences(**case):.1%}",
                f"against one seed {false_differences(**case, against_one_seed=True):.1%}",
                sep=", ",
                flush=True,
            )
    loud = HARD[0]._replace(seed=9 * HARD[0].seed)
    for methods in ((USUAL[2],) * 2, (HARD[1],) * 2, (HARD[1],) * 5, (HARD[0], loud), (HARD[0],) * 4 + (loud,)):
        found = pooled_coverage(methods=methods, simulations=2000)
        print(f"2 seeds, {len(methods)} methods, {methods[0]} ... {methods[-1]}: {found}", flush=True)
