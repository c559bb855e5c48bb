"""Mixtures: how many rows of each source, which, and in what order."""

import pytest

from tunelab.data.sets.mixing import Part, mix
from tunelab.errors import DataError
from tunelab.records import Example


def rows(count: int, text: str = "t") -> list[Example]:
    return [Example(f"train-{row:06d}", f"p{row}", f"{text}{row}", (f"{text}{row}",)) for row in range(count)]


def test_each_source_gives_n_rows_under_its_own_name():
    mixed = mix([Part("a", rows(100), n=30), Part("b", rows(20), n=50)], seed=0)
    assert mixed.counts == {"a": 30, "b": 20}
    assert len(mixed.examples) == 50
    assert len({example.id for example in mixed.examples}) == 50
    for example in mixed.examples:
        assert example.id.startswith(f"{example.source}/train-")
    assert [example.prompt for example in mixed.examples if example.source == "b"] == [f"p{row}" for row in range(20)]


def test_weights_are_shares_and_the_scarcest_source_decides_how_many():
    parts = [Part("a", rows(100), weight=3), Part("b", rows(10), weight=1), Part("c", rows(5))]
    assert mix(parts, seed=0).counts == {"a": 30, "b": 10, "c": 5}
    parts = [Part("a", rows(100), weight=0.1), Part("b", rows(90), weight=0.9, n=9)]
    assert mix(parts, seed=0).counts == {"a": 1, "b": 9}


def test_a_smaller_mixture_is_part_of_a_larger_one_and_a_seed_decides_the_rows():
    def chosen(n, seed):
        parts = [Part("a", rows(100), n=n), Part("b", rows(100), n=n)]
        return [example.id for example in mix(parts, seed=seed).examples]

    assert chosen(10, seed=1) == chosen(10, seed=1)
    assert set(chosen(10, seed=1)) < set(chosen(40, seed=1))
    assert set(chosen(10, seed=1)) != set(chosen(10, seed=2))


def test_sources_are_spread_evenly_over_the_whole():
    mixed = mix([Part("a", rows(300)), Part("b", rows(100))], seed=0)
    for start in range(0, 400, 40):
        window = [example.source for example in mixed.examples[start : start + 40]]
        assert 29 <= window.count("a") <= 31


def test_the_same_mixture_can_be_read_from_both_ends():
    mixed = mix([Part("a", rows(4)), Part("b", rows(4))], seed=0).examples
    assert mixed[-1] == mixed[7] == list(mixed)[-1]
    with pytest.raises(IndexError):
        mixed[8]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "needs sources with different names; got none"),
        ([Part("a", rows(1)), Part("a", rows(1))], "different names; got a, a"),
        ([Part("a", rows(3), weight=0)], "a: weight 0 must be above 0"),
        ([Part("a", [])], "a: gives no row to the mixture"),
        ([Part("a", rows(3), weight=9), Part("b", rows(3), weight=0.1)], "b: gives no row"),
    ],
)
def test_impossible_mixtures_are_refused(parts, message):
    with pytest.raises(DataError, match=message):
        mix(parts, seed=0)
