"""Rows of words that are nearly the same: Jaccard similarity of their sets of word 5-grams, exact and without a sketch.

Two rows are near when |A and B| / |A or B| >= SIMILARITY. Such rows share at least one of the rarest 5-grams of each
(prefix filtering: Chaudhuri et al. 2006; Bayardo et al. 2007), so that only rows which do are compared, and text that
all rows have in common costs nothing. Equal 64-bit hashes count as equal 5-grams.
"""
# N rows looked for, S 5-grams of theirs, each once a row; I indexed rows

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

WORDS = 5
SIMILARITY = 0.8
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Grams(NamedTuple):
    keys_S: np.ndarray
    """uint64."""
    row_S: np.ndarray
    """Ascending."""
    num_rows: int
    """Also those that have no 5-gram."""


class NearRows:
    """An index over few rows, in which many are looked for. Rows with less than 5 words are near nothing."""

    def __init__(self, rows: Sequence[Collection[str]]) -> None:
        grams = grams_of(rows)
        self._known, place_S, count = np.unique(grams.keys_S, return_inverse=True, return_counts=True)
        self._frequency = count
        self._starts = np.searchsorted(grams.row_S, np.arange(len(rows) + 1))
        self._grams: list[np.ndarray] = []
        first = []
        for row, (start, end) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            own = self._rarest_first(place_S[start:end])
            self._grams.append(np.sort(own))
            first.append(np.stack([own[: _prefix(len(own))], np.full(min(_prefix(len(own)), len(own)), row)]))
        joined = np.concatenate([np.empty((2, 0), np.int64), *first], axis=1)
        order = np.argsort(joined[0], kind="stable")
        self._first_grams, self._first_rows = joined[0][order], joined[1][order]

    def find(self, grams: Grams) -> list[tuple[int, ...]]:
        """For each row looked for the indexed rows that are near it."""
        num_rows = grams.num_rows
        found: list[tuple[int, ...]] = [()] * num_rows
        if not len(self._known) or not len(grams.keys_S):
            return found
        place_S = np.minimum(np.searchsorted(self._known, grams.keys_S), len(self._known) - 1)
        known_S = self._known[place_S] == grams.keys_S
        num_grams = np.bincount(grams.row_S, minlength=num_rows)
        num_known = np.bincount(grams.row_S[known_S], minlength=num_rows)
        starts = np.searchsorted(grams.row_S, np.arange(num_rows + 1))
        for row in np.flatnonzero((num_grams > 0) & (num_grams - num_known < _prefix(num_grams))).tolist():
            span = slice(starts[row], starts[row + 1])
            found[row] = self._near(place_S[span][known_S[span]], int(num_grams[row]))
        return found

    def _near(self, known: np.ndarray, size: int) -> tuple[int, ...]:
        """Of a row of `size` 5-grams of which these are in the index. The others are rarer than any of these."""
        first = self._rarest_first(known)[: _prefix(size) - (size - len(known))]
        begins, ends = (np.searchsorted(self._first_grams, first, side=side) for side in ("left", "right"))
        spans = [self._first_rows[begin:end] for begin, end in zip(begins, ends, strict=True)]
        near = []
        for candidate in np.unique(np.concatenate(spans)).tolist():
            other = self._grams[candidate]
            shared = len(np.intersect1d(known, other, assume_unique=True))
            if shared >= SIMILARITY * (size + len(other) - shared):
                near.append(candidate)
        return tuple(near)

    def _rarest_first(self, places: np.ndarray) -> np.ndarray:
        return places[np.lexsort((places, self._frequency[places]))]


def _prefix(size: np.ndarray | int) -> np.ndarray | int:
    """So many of the rarest 5-grams hold at least one that a near row has among as many of its own."""
    # 1e-9: 0.8 * 5 is 4 and not a little more.
    return size - np.ceil(SIMILARITY * size - 1e-9).astype(np.int64) + 1


def grams_of(rows: Sequence[Collection[str]]) -> Grams:
    """Of rows of words; looked for in several indexes they are made once."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    words = np.fromiter(map(hash, chain.from_iterable(rows)), np.int64, int(lengths.sum())).view(np.uint64)
    row_S = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    count = max(len(words) - WORDS + 1, 0)
    keys_S = np.zeros(count, np.uint64)
    for place in range(WORDS):
        keys_S ^= keys_S >> np.uint64(29)  # in place: of a text of megabytes each copy is as large as the text
        keys_S *= _MIX
        keys_S += words[place : place + count]
    del words
    whole = row_S[:count] == row_S[WORDS - 1 :][:count]
    keys_S, row_S = keys_S[whole], row_S[:count][whole]
    mixed_S = row_S.astype(np.uint64)
    mixed_S *= _MIX
    mixed_S ^= keys_S
    once = np.argsort(mixed_S, kind="stable")  # as np.unique finds them, without its copies
    mixed_S = mixed_S[once]
    first_S = np.ones(len(once), bool)
    first_S[1:] = mixed_S[1:] != mixed_S[:-1]
    del mixed_S
    once = once[first_S]
    once.sort()
    return Grams(keys_S[once], row_S[once], len(rows))
