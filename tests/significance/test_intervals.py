import numpy as np
import pytest

from tunelab.metrics.exact_match import ExactMatch
from tunelab.significance import resampling
from tunelab.significance.intervals import interval, intervals
from tunelab.significance.resampling import resampled_scores


class Mean(ExactMatch):
    """The mean of the first statistic, of any size."""

    bounds = (-np.inf, np.inf)


MEAN = Mean()


def with_ones(values):
    return np.stack([values, np.ones_like(values)], axis=-1)


def normal_runs(*, seeds, mean=0.0, examples=200, seed_effect=0.0, key=0):
    draw = np.random.default_rng(key)
    shared = draw.normal(size=(1, examples))
    effects = draw.normal(size=(seeds, 1)) * seed_effect
    return with_ones(mean + shared + effects + 0.3 * draw.normal(size=(seeds, examples)))


def test_resampled_scores_equal_scores_of_resampled_lists(monkeypatch):
    statistics = np.random.default_rng(5).normal(size=(3, 7, 2)) ** 2 + 0.1
    drawn = np.random.default_rng(11).integers(0, 7, size=(20, 7))
    expected = [
        [sum(run[i][0] for i in draw) / sum(run[i][1] for i in draw) for run in statistics.tolist()]
        for draw in drawn.tolist()
    ]
    assert np.allclose(resampled_scores(statistics, MEAN, resamples=20, seed=11), expected, rtol=1e-13)
    monkeypatch.setattr(resampling, "CELLS_PER_CHUNK", 7 * 3)
    assert np.allclose(resampled_scores(statistics, MEAN, resamples=20, seed=11), expected, rtol=1e-13)


def test_one_seed_interval_is_the_normal_one_for_a_mean():
    values = np.random.default_rng(0).normal(size=(1, 400))
    found = interval(with_ones(values), MEAN, resamples=20_000)
    standard_error = values.std() / 20
    assert found.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.06 * standard_error)
    assert found.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.06 * standard_error)
    assert (found.num_seeds, found.num_examples) == (1, 400)


def test_a_run_alone_may_leave_out_the_axis_of_seeds():
    runs = normal_runs(seeds=1)
    assert interval(runs[0], MEAN) == interval(runs, MEAN)


def test_seeds_with_equal_output_count_as_no_further_examples():
    run = normal_runs(seeds=1)
    once, thrice = interval(run, MEAN), interval(np.repeat(run, 3, axis=0), MEAN)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=1e-12)


def test_scattered_seeds_widen_the_interval_as_students_t():
    # No noise but the seeds': means 0, 1, 2 have standard error 1/sqrt(3), and t with 2 degrees of freedom is 4.303.
    runs = with_ones(np.repeat([[0.0], [1.0], [2.0]], 50, axis=1))
    found = interval(runs, MEAN, resamples=200_000)
    assert found.value == 1.0
    assert (found.high - found.low) / 2 == pytest.approx(4.303 / 3**0.5, rel=0.03)


def test_two_seeds_take_the_larger_of_their_own_variance_and_the_mean_of_all():
    calm = with_ones(np.array([[0.49] * 50, [0.51] * 50]))
    loud = with_ones(np.array([[0.4] * 50, [0.6] * 50]))
    alone = {label: interval(runs, MEAN, resamples=20_000) for label, runs in (("calm", calm), ("loud", loud))}
    both = intervals({"calm": calm, "loud": loud}, MEAN, resamples=20_000)
    pooled = ((0.01**2 + 0.1**2) / 2) ** 0.5  # standard errors of the two means
    student = {1: 12.706, 1.02: 12.4}  # Satterthwaite: (0.01 + 1)^2 / (0.01^2 + 1^2) degrees of freedom
    assert alone["loud"].high == pytest.approx(0.5 + student[1] * 0.1, rel=0.1)
    assert both["loud"].high == pytest.approx(0.5 + student[1.02] * 0.1, rel=0.1)
    assert both["calm"].high == pytest.approx(0.5 + student[1.02] * pooled, rel=0.1)


def test_two_methods_that_scatter_alike_have_the_degrees_of_freedom_of_both():
    runs = {label: with_ones(np.array([[0.4] * 50, [0.6] * 50]) + shift) for label, shift in (("one", 0), ("two", 1))}
    found = intervals(runs, MEAN, resamples=50_000)
    assert found["one"].high == pytest.approx(0.5 + 4.303 * 0.1, rel=0.05)  # Student's t with 2, not 12.7 with 1


def test_intervals_end_where_the_metric_does():
    runs = with_ones(np.stack([np.full(50, 0.3), np.full(50, 0.9)]))
    assert interval(runs, MEAN).low < 0 and interval(runs, MEAN).high > 1
    assert interval(runs, ExactMatch())[1:3] == (0.0, 1.0)
