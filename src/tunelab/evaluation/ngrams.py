"""N-grams of many texts as numbers, so that a corpus is counted and matched by sorting instead of word by word.

A word is numbered when it is first seen; an n-gram is the pair (its first n - 1 words, its last word), numbered again.
"""
# X texts, E entries: the different n-grams of each text, G different n-grams of the corpus

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Counted(NamedTuple):
    """All n-grams of one order."""

    text: np.ndarray
    """Shape E: which text."""
    ngram: np.ndarray
    """Shape E: which n-gram, 0 to G - 1."""
    count: np.ndarray
    """Shape E: how often it stands in the text."""
    prefix: np.ndarray
    """Shape G: number of the n-gram of the order below without the last word; 0 for single words."""

    def of(self, chosen: np.ndarray) -> Counted:
        """Entries of some texts: `chosen` is a bool per entry."""
        return Counted(self.text[chosen], self.ngram[chosen], self.count[chosen], self.prefix)

    @property
    def num_ngrams(self) -> int:
        return len(self.prefix)

    def totals(self) -> np.ndarray:
        """Shape G: how often each n-gram stands in the texts together."""
        return np.bincount(self.ngram, weights=self.count, minlength=self.num_ngrams)


class Lookup:
    """Value of an n-gram in a group of texts; 0 where it is not there."""

    def __init__(self, group: np.ndarray, entries: Counted, values: np.ndarray) -> None:
        """`group` and `values`, shape E: of equal n-grams of a group the largest value counts."""
        keys = group * entries.num_ngrams + entries.ngram
        order = np.lexsort((values, keys))
        keys, values = keys[order], values[order]
        last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        self._keys, self._values, self._num_ngrams = keys[last], values[last], entries.num_ngrams

    def values(self, group: np.ndarray, ngram: np.ndarray) -> np.ndarray:
        if not len(self._keys):
            return np.zeros(len(ngram))
        keys = group * self._num_ngrams + ngram
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._values[place], 0)


class NgramCounts(NamedTuple):
    words: dict[str, int]
    """Word -> its number, which is also its number as an n-gram of order 1."""
    orders: list[Counted]


def count_ngrams(texts: Sequence[Sequence[str]], max_order: int) -> NgramCounts:
    """Orders 1 to `max_order` of X texts of words."""
    vocabulary: dict[str, int] = {}
    words = np.array([vocabulary.setdefault(word, len(vocabulary)) for text in texts for word in text], dtype=np.int64)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    text = np.repeat(np.arange(len(texts)), lengths)
    words_left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
    ngram, found = np.zeros(len(words), dtype=np.int64), []
    for order in range(1, max_order + 1):
        begins = words_left >= order
        # The n-gram that begins at a word: the shorter one there, and the word that follows it.
        last_word = words[np.flatnonzero(begins) + order - 1]
        pairs, numbers = np.unique(ngram[begins] * (len(vocabulary) + 1) + last_word, return_inverse=True)
        ngram = np.zeros(len(words), dtype=np.int64)
        ngram[begins] = numbers
        keys, count = np.unique(text[begins] * max(len(pairs), 1) + numbers, return_counts=True)
        owner, number = np.divmod(keys, max(len(pairs), 1))
        found.append(Counted(owner, number, count, pairs // (len(vocabulary) + 1)))
    return NgramCounts(vocabulary, found)
