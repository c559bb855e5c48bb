"""Effect sizes and planned numbers of examples."""

import numpy as np
import pytest

from evaluation.test_significance import MEAN, normal_runs, with_ones
from tunelab.evaluation.power import effect_size, examples_needed
from tunelab.evaluation.significance import LEVEL, compare, paired_test


def test_effect_is_the_mean_difference_in_its_standard_deviations():
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(2, 1, 500))
    second = second + 0.2
    difference = (first - second).ravel()
    test = paired_test(with_ones(first), with_ones(second), MEAN)
    assert test.effect == pytest.approx(difference.mean() / difference.std(), rel=0.05)


def test_needed_examples_equal_the_textbook_count():
    # d_z = 0.3, two-sided 5 %, power 80 %: (1.960 + 0.8416)^2 / 0.09 = 87.2
    found = examples_needed(0.3, examples_variance=1 / 50, seeds_variance=0.0, num_examples=50, level=0.05)
    assert found == 88


def test_so_many_examples_do_tell_the_difference_apart_in_8_of_10():
    draw = np.random.default_rng(3)
    needed = examples_needed(0.25, examples_variance=1 / 100, seeds_variance=0.0, num_examples=100, level=LEVEL)
    told = 0
    for number in range(200):
        shared, own = draw.normal(size=(1, needed)), draw.normal(size=(1, needed))
        test = paired_test(with_ones(shared + own + 0.25), with_ones(shared), MEAN, resamples=1000, seed=number)
        told += test.p < LEVEL
    assert 0.72 <= told / 200 <= 0.88


def test_where_seeds_hide_the_difference_no_number_of_examples_is_enough():
    assert examples_needed(0.1, examples_variance=0.01, seeds_variance=0.1, num_examples=100, level=0.05) is None
    runs = {
        "full": normal_runs(seeds=3, seed_effect=1.0, key=1),
        "lora": normal_runs(seeds=3, mean=0.05, seed_effect=1.0, key=2),
    }
    (pair,) = compare(runs, MEAN).pairs
    assert pair.p > LEVEL
    assert pair.examples_needed is None


def test_more_pairs_need_more_examples():
    runs = {label: normal_runs(seeds=1, mean=0.02 * place, key=place) for place, label in enumerate("abcd")}
    alone = compare({label: runs[label] for label in "ab"}, MEAN).pairs[0]
    together = compare(runs, MEAN).pairs[0]
    assert together.examples_needed > alone.examples_needed
    assert together.effect == alone.effect


def test_equal_methods_have_no_effect_and_nothing_to_find():
    same = normal_runs(seeds=1)
    test = paired_test(same, same, MEAN)
    assert (test.effect, test.examples_needed) == (None, None)
    assert effect_size(0.0, 0.0, 10) is None


def test_a_difference_of_rounding_has_no_effect():
    values = normal_runs(seeds=1)
    nudged = values.copy()
    nudged[..., 0] += 1e-16
    test = paired_test(values, nudged * (1 + 1e-16), MEAN)
    assert (test.effect, test.examples_needed) == (None, None)
