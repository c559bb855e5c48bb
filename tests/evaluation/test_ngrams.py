"""N-grams counted by sorting equal those that a dictionary counts, order by order."""

import random
from collections import Counter

import numpy as np
import pytest

from tunelab.evaluation.ngrams import Lookup, count_ngrams

ORDER = 4


def corpus(key: int) -> list[list[str]]:
    """Short texts of few words, one of them empty and one shorter than the highest order."""
    draw = random.Random(key)
    texts = [draw.choices("abc", k=draw.randrange(12)) for _ in range(7)]
    return [*texts, [], ["a", "b"], ["a", "a", "a", "a", "a"]]


def ngrams(text: list[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(text[at : at + order]) for at in range(len(text) - order + 1)]


@pytest.mark.parametrize("key", range(5))
def test_each_text_has_its_ngrams_as_often_as_they_stand_there(key):
    texts = corpus(key)
    found = count_ngrams(texts, ORDER)
    for order, counted in enumerate(found.orders, 1):
        wanted = [Counter(ngrams(text, order)) for text in texts]
        for number, own in enumerate(wanted):
            here = counted.count[counted.text == number]
            assert sorted(here.tolist()) == sorted(own.values()), f"text {number}, order {order}"
        assert counted.num_ngrams == len(set().union(*wanted))
        together = sum(wanted, Counter())
        assert sorted(counted.totals().tolist()) == sorted(together.values())


@pytest.mark.parametrize("key", range(5))
def test_the_same_ngram_has_the_same_number_in_every_text(key):
    """By the texts that hold it: which are told by numbers as they are by words."""
    texts = corpus(key)
    for order, counted in enumerate(count_ngrams(texts, ORDER).orders, 1):
        by_number = {tuple(counted.text[counted.ngram == number]) for number in range(counted.num_ngrams)}
        known = set().union(*(ngrams(text, order) for text in texts))
        by_words = {tuple(place for place, text in enumerate(texts) if gram in ngrams(text, order)) for gram in known}
        assert by_number == by_words


def test_a_prefix_is_the_ngram_without_its_last_word():
    """Of 'a b a c': 'a b a' and 'b a c' have the prefixes 'a b' and 'b a', and those 'a' and 'b'."""
    one, two, three = count_ngrams([["a", "b", "a", "c"]], 3).orders
    words = count_ngrams([["a", "b", "a", "c"]], 3).words
    assert words == {"a": 0, "b": 1, "c": 2} and one.prefix.tolist() == [0, 0, 0]
    assert Counter(two.prefix.tolist()) == Counter({words["a"]: 2, words["b"]: 1}), "a b, a c; b a"
    ab, ba = two.prefix.tolist().index(words["a"]), two.prefix.tolist().index(words["b"])
    assert sorted(three.prefix.tolist()) == sorted([ab, ba])


def test_of_equal_ngrams_of_a_group_the_largest_value_counts():
    entries = count_ngrams([["a", "a", "a"], ["a"], ["b"], ["a", "a"]], 1).orders[0]
    group = np.array([0, 0, 1, 1])[entries.text]
    lookup = Lookup(group, entries, entries.count)
    a, b = 0, 1
    asked = np.array([[0, a], [1, a], [0, b], [1, b], [2, a]])
    assert lookup.values(asked[:, 0], asked[:, 1]).tolist() == [3, 2, 0, 1, 0]


def test_of_nothing_there_is_nothing():
    (empty,) = count_ngrams([[], []], 1).orders
    assert empty.num_ngrams == 0 and len(empty.text) == 0
    assert Lookup(empty.text, empty, empty.count).values(np.array([0]), np.array([0])).tolist() == [0]
