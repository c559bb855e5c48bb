from collections import Counter

import numpy as np
import pytest

from tunelab.evaluation import resampling
from tunelab.evaluation.resampling import resampled_scores
from tunelab.evaluation.significance import compare, holm, interval, paired_test
from tunelab.metrics.exact_match import ExactMatch
from tunelab.metrics.loss import Loss
from tunelab.metrics.perplexity import Perplexity


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


def test_holm_equals_a_worked_example():
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0


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


def test_equal_methods_have_p_one():
    runs = normal_runs(seeds=1)
    assert paired_test(runs, runs.copy(), MEAN).p == 1.0
    assert paired_test(normal_runs(seeds=3), normal_runs(seeds=3), MEAN).p > 0.9


def test_pairing_finds_a_difference_much_smaller_than_the_intervals():
    first, second = normal_runs(seeds=1), normal_runs(seeds=1, mean=0.0)
    second[..., 0] += 0.1 + 0.3 * np.random.default_rng(3).normal(size=second.shape[:2])
    found = paired_test(first, second, MEAN)
    assert found.p < 0.01 and found.low < found.difference < found.high < 0
    one, other = interval(first, MEAN), interval(second, MEAN)
    assert one.high > other.low, "the intervals overlap all the same"


def test_p_agrees_with_a_paired_bootstrap_written_out():
    draw = np.random.default_rng(2)
    first, second = draw.normal(size=60), draw.normal(0.25, 1, size=60)
    found = paired_test(with_ones(first)[None], with_ones(second)[None], MEAN, resamples=20_000)
    differences = [a - b for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    side = Counter()
    for chosen in np.random.default_rng(9).integers(0, 60, size=(20_000, 60)).tolist():
        side[sum(differences[i] for i in chosen) > 0] += 1
    assert 0.02 < found.p < 0.9
    assert found.p == pytest.approx(2 * min(side.values()) / 20_000, abs=0.02)


def test_the_base_with_one_seed_is_tested_against_methods_with_several():
    found = compare(
        {
            "base": normal_runs(seeds=1, mean=-1.0),
            "lora": normal_runs(seeds=3, mean=0.0, seed_effect=0.01),
            "full": normal_runs(seeds=3, mean=0.0, seed_effect=0.01, key=1),
            "rosa": None,
        },
        MEAN,
    )
    assert found.tied_best == {"base": False, "lora": True, "full": True, "rosa": None}
    assert found.best in ("lora", "full")
    assert found.intervals["rosa"] is None and found.intervals["base"].num_seeds == 1
    assert [(pair.first, pair.second) for pair in found.pairs] == [("base", "lora"), ("base", "full"), ("lora", "full")]
    assert all(pair.p <= pair.p_holm <= 1 for pair in found.pairs)


def test_lower_is_better_where_the_metric_says_so():
    found = compare({"high": normal_runs(seeds=1, mean=5.0), "low": normal_runs(seeds=1, mean=4.0)}, Loss())
    assert found.best == "low" and found.tied_best == {"high": False, "low": True}


def test_ten_methods_can_still_differ_after_holm():
    runs = {f"method {number}": normal_runs(seeds=1, mean=float(number)) for number in range(10)}
    found = compare(runs, MEAN)
    assert len(found.pairs) == 45
    assert [label for label, tied in found.tied_best.items() if tied] == ["method 9"]


def test_a_further_method_changes_no_other_interval():
    runs = {"lora": normal_runs(seeds=4, seed_effect=0.5), "full": normal_runs(seeds=4, seed_effect=0.5, key=4)}
    few = compare(runs, MEAN)
    more = compare({"rosa": normal_runs(seeds=4, key=7), **runs}, MEAN)
    for label in runs:
        assert more.intervals[label] == pytest.approx(few.intervals[label], rel=1e-12)


def test_two_seeds_take_the_larger_of_their_own_variance_and_the_mean_of_all():
    calm = with_ones(np.array([[0.49] * 50, [0.51] * 50]))
    loud = with_ones(np.array([[0.4] * 50, [0.6] * 50]))
    alone = {label: interval(runs, MEAN, resamples=20_000) for label, runs in (("calm", calm), ("loud", loud))}
    both = compare({"calm": calm, "loud": loud}, MEAN).intervals
    pooled = ((0.01**2 + 0.1**2) / 2) ** 0.5  # standard errors of the two means
    student = {1: 12.706, 2: 4.303}
    assert alone["loud"].high == pytest.approx(0.5 + student[1] * 0.1, rel=0.1)
    assert both["loud"].high == pytest.approx(0.5 + student[2] * 0.1, rel=0.1)
    assert both["calm"].high == pytest.approx(0.5 + student[2] * pooled, rel=0.1)


@pytest.mark.parametrize("runs", [{}, {"lora": None}, {"lora": np.zeros((1, 0, 2))}, {"lora": np.ones((2, 1, 2))}])
def test_nothing_to_compare_gives_no_verdict(runs):
    found = compare(runs, MEAN)
    assert found.best is None and found.pairs == () and set(found.tied_best.values()) <= {None}


def test_a_method_whose_score_overflows_takes_no_part():
    fine, broken = np.full((1, 5, 2), 1.0), np.full((1, 5, 2), 1.0)
    broken[..., 0] = 1e6
    found = compare({"broken": broken, "fine": fine}, Perplexity())
    assert found.intervals["broken"].value is None and found.tied_best == {"broken": None, "fine": True}


def test_intervals_end_where_the_metric_does():
    runs = with_ones(np.stack([np.full(50, 0.3), np.full(50, 0.9)]))
    assert interval(runs, MEAN).low < 0 and interval(runs, MEAN).high > 1
    assert interval(runs, ExactMatch())[1:3] == (0.0, 1.0)
