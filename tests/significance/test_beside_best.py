"""As good, worse, undecided: each word where it belongs, and only there."""

import numpy as np
import pytest

from significance.test_intervals import MEAN, normal_runs, with_ones
from tunelab.metrics.loss import Loss
from tunelab.metrics.perplexity import Perplexity
from tunelab.significance.beside_best import Margin, compare


def words(found):
    return {label: standing and standing.word for label, standing in found.standings.items()}


def steady(mean, *, seeds=3, key=0, examples=200, scatter=0.01, noise=0.05):
    """Runs of a method: examples shared by all, seeds that scatter a little."""
    shared = np.random.default_rng(99).normal(size=examples)
    draw = np.random.default_rng(key)
    return with_ones(
        mean + shared + scatter * draw.normal(size=(seeds, 1)) + noise * draw.normal(size=(seeds, examples))
    )


def base(mean):
    return steady(mean, seeds=1, key=77)


def test_a_method_within_the_margin_is_as_good_and_one_far_below_is_worse():
    found = compare(
        {"base": base(0.0), "full": steady(1.0), "lora": steady(0.99, key=1), "rosa": steady(0.5, key=2)},
        MEAN, base="base",
    )  # fmt: skip
    assert words(found) == {"base": None, "full": "as good", "lora": "as good", "rosa": "worse"}
    assert found.best == "full" and found.margin == pytest.approx(0.1, abs=0.01)
    assert found.beats_base == {"base": None, "full": True, "lora": True, "rosa": True}
    lora, rosa = found.standings["lora"], found.standings["rosa"]
    assert lora.high < found.margin and lora.lacks == pytest.approx(0.01, abs=0.01) and lora.needed is None
    assert rosa.low > found.margin and set(rosa.better) == {"full", "lora"}


def test_what_is_not_told_apart_is_undecided_and_says_what_would_decide():
    loud = {"full": steady(1.0, scatter=0.3), "lora": steady(0.98, key=1, scatter=0.3)}
    found = compare({"base": base(0.0), **loud}, MEAN, base="base")
    assert set(words(found).values()) == {None, "undecided"}, "the best mean is not shown to be the best either"
    assert found.standings["lora"].needed.seeds > 3


def test_the_margin_is_a_share_of_the_gain_or_a_number():
    runs = {"base": base(0.0), "full": steady(1.0), "lora": steady(0.95, key=1)}
    assert words(compare(runs, MEAN, base="base"))["lora"] == "as good"
    strict = compare(runs, MEAN, base="base", margin=Margin(0.02))
    assert words(strict)["lora"] == "worse" and strict.margin == pytest.approx(0.02, abs=0.002)
    number = compare(runs, MEAN, base="base", margin=Margin(None, 0.3))
    assert words(number)["lora"] == "as good" and number.margin == 0.3


def test_without_a_gain_over_the_base_there_is_no_margin_and_nothing_is_as_good_but_a_sure_best():
    runs = {"base": base(2.0), "full": steady(1.0), "lora": steady(0.5, key=1)}
    found = compare(runs, MEAN, base="base")
    assert found.margin is None and words(found) == {"base": None, "full": "as good", "lora": "worse"}
    assert found.beats_base == {"base": None, "full": False, "lora": False}
    near = compare(runs | {"lora": steady(1.0, key=1)}, MEAN, base="base")
    assert set(words(near).values()) == {None, "undecided"}


def test_a_method_with_one_seed_is_not_compared():
    found = compare({"base": base(0.0), "full": steady(1.0, seeds=1), "lora": steady(0.5, seeds=1)}, MEAN, base="base")
    assert found.standings == {"base": None, "full": None, "lora": None} and found.best is None
    assert found.intervals["full"].low is not None
    beside = compare({"base": base(0.0), "full": steady(2.0, seeds=1), "lora": steady(0.5)}, MEAN, base="base")
    assert words(beside) == {"base": None, "full": None, "lora": "as good"}, "of those with several seeds"


def test_lower_is_better_where_the_metric_says_so():
    runs = {"base": base(5.0), "high": steady(4.0), "low": steady(2.0, key=1)}
    found = compare(runs, Loss(), base="base")
    assert found.best == "low" and words(found) == {"base": None, "high": "worse", "low": "as good"}
    assert found.standings["high"].lacks == pytest.approx(2.0, abs=0.02)
    assert found.margin == pytest.approx(0.3, abs=0.01)
    assert found.beats_base == {"base": None, "high": True, "low": True}
    worse = compare({"base": base(1.0), "high": steady(4.0), "low": steady(2.0, key=1)}, Loss(), base="base")
    assert worse.beats_base == {"base": None, "high": False, "low": False} and worse.margin is None


def test_perplexities_are_compared_in_their_logarithm():
    """A tenth of a gain from 8,000 to 5 would be 800, and everything as good."""
    runs = {"base": base(9.0), "full": steady(1.6), "lora": steady(2.6, key=1)}
    found = compare(runs, Perplexity(), base="base")
    assert found.in_logarithms and found.margin == pytest.approx(0.74, abs=0.02)
    assert words(found)["lora"] == "worse" and found.standings["lora"].lacks == pytest.approx(1.0, abs=0.02)
    assert found.intervals["full"].value == pytest.approx(np.exp(steady(1.6)[..., 0].mean()), rel=0.02)
    assert not compare(runs, Perplexity(), base="base", margin=Margin(None, 3.0)).in_logarithms


def test_further_methods_make_no_worse_one_look_as_good():
    """With pairs corrected for each other, more rows made more of them look tied."""
    few = {"base": base(0.0), "full": steady(1.0), "lora": steady(0.6, key=1)}
    many = few | {f"method {number}": steady(0.3, key=10 + number) for number in range(11)}
    assert words(compare(few, MEAN, base="base"))["lora"] == "worse"
    assert words(compare(many, MEAN, base="base"))["lora"] == "worse"


def test_words_follow_the_order_of_the_means():
    rank = {"as good": 0, "undecided": 1, "worse": 2}
    for key in range(30):
        draw = np.random.default_rng(key)
        runs = {
            f"method {number}": steady(1 + 0.05 * draw.normal(), key=100 * key + number, scatter=0.02, noise=noise)
            for number, noise in enumerate(draw.uniform(0.1, 1.5, size=6))
        }
        found = compare({"base": base(0.0), **runs}, MEAN, base="base", resamples=1000)
        ordered = sorted((one.lacks, rank[one.word]) for label, one in found.standings.items() if one)
        assert [place for _, place in ordered] == sorted(place for _, place in ordered)


def test_equal_methods_are_undecided_or_as_good_and_never_worse():
    runs = {label: steady(1.0) for label in ("full", "lora", "rosa")}
    found = compare({"base": base(0.0), **runs}, MEAN, base="base")
    assert set(words(found).values()) == {None, "as good"}
    assert all(one.low <= 0 and one.lacks == 0 for one in found.standings.values() if one)


def test_an_unsteady_method_is_named_and_is_neither_as_good_nor_in_the_way_of_others():
    fails = steady(1.0, key=3)
    fails[1, :, 0] -= 0.95
    runs = {"full": steady(1.0), "lora": steady(0.99, key=1), "rosa": fails, "galore": steady(0.8, key=2)}
    found = compare({"base": base(0.0), **runs}, MEAN, base="base")
    assert found.unsteady == ("rosa",)
    assert words(found) == {
        "base": None, "full": "as good", "lora": "as good", "rosa": "undecided", "galore": "worse",
    }  # fmt: skip


@pytest.mark.parametrize("runs", [{}, {"lora": None}, {"lora": np.zeros((1, 0, 2))}, {"lora": np.ones((2, 1, 2))}])
def test_nothing_to_compare_gives_no_word(runs):
    found = compare(runs, MEAN)
    assert found.best is None and set(found.standings.values()) <= {None} and found.margin is None


def test_a_method_whose_score_overflows_takes_no_part():
    fine, broken = np.full((2, 5, 2), 1.0), np.full((2, 5, 2), 1.0)
    broken[..., 0] = 1e6
    found = compare({"broken": broken, "fine": fine}, Perplexity())
    assert found.intervals["broken"].value is None and words(found) == {"broken": None, "fine": "as good"}


def test_a_base_of_one_seed_is_beaten_by_methods_with_several_only_where_they_are_better():
    found = compare(
        {"base": normal_runs(seeds=1), "lora": normal_runs(seeds=3, mean=1.0), "full": normal_runs(seeds=3, key=4)},
        MEAN, base="base",
    )  # fmt: skip
    assert found.beats_base["lora"] is True and found.beats_base["base"] is None


def test_the_order_of_the_methods_changes_nothing():
    runs = {"base": base(0.0), "full": steady(1.0), "lora": steady(0.97, key=1), "rosa": steady(0.9, key=2)}
    one, other = compare(runs, MEAN, base="base"), compare(dict(reversed(runs.items())), MEAN, base="base")
    for label in runs:
        assert one.intervals[label] == pytest.approx(other.intervals[label], rel=1e-9)
        assert words(one)[label] == words(other)[label]
