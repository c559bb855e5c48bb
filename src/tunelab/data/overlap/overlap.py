"""Rows of one split that also stand in another, exactly or nearly, and rows that stand in the other twice.

Same: equal keys of data/examples/twins.py. Near: near_rows.py, over prompt and target together.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tunelab.data.examples.twins import EachWord, twin_key, words
from tunelab.data.overlap.near_rows import Grams, NearRows, grams_of
from tunelab.records import Example

CHUNK = 1000
"""Rows compared at a time."""
LONG = 1 << 20
"""Characters of a row above which its words are never in memory together."""

Row = tuple[str, str]
"""Keys of a prompt and of what follows it."""


class Overlap(NamedTuple):
    """Of `known` rows, which are in memory, with `other` rows, which went by."""

    num_known: int
    num_same_row: int
    """Known examples of which prompt and one reference together are one of the other rows."""
    num_near_row: int
    """Known examples of which they are nearly one, and not one."""
    num_same_prompt: int | None
    """Known examples whose prompt is a prompt of the others; None for plain text, which has no prompts."""
    num_other: int
    num_other_same_row: int
    """Other rows that are a known row."""
    num_other_near_row: int
    """Other rows that nearly are one, and are none."""
    num_other_duplicates: int
    """Other rows that repeat an earlier one."""

    @property
    def share_same_row(self) -> float | None:
        return self.num_same_row / self.num_known if self.num_known else None

    def named(self, *, known: str, other: str) -> dict[str, Any]:
        """By the names of the splits, as in num_test and num_train_same_row."""
        names = (name.replace("known", known).replace("other", other) for name in self._fields)
        return {**dict(zip(names, self, strict=True)), "share_same_row": self.share_same_row}


class KnownRows:
    """A split's rows, to look for others among them."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self.sources: list[str] = []
        self.rows: dict[Row, list[int]] = {}
        self.prompts: dict[str, list[int]] = {}
        has_prompt = []
        for number, example in enumerate(examples):
            self.sources.append(example.source)
            prompt = twin_key(example.prompt)
            has_prompt.append(bool(prompt))
            if prompt:
                self.prompts.setdefault(prompt, []).append(number)
            for row in _rows(example, prompt):
                self.rows.setdefault(row, []).append(number)
        self.owners = list(self.rows.values())
        self.near = NearRows([_words(row) for row in self.rows])
        self.has_prompt = np.array(has_prompt, bool)


class OtherRows(NamedTuple):
    """A chunk of those that go by, with what every comparison asks of them."""

    sources: list[str]
    rows: list[list[Row]]
    grams: Grams
    """Of the first of each one's rows."""


class OverlapFinder:
    """Watches other rows go by and remembers what they have in common with the known ones."""

    def __init__(self, known: KnownRows) -> None:
        self._known = known
        self._same_row, self._near_row, self._same_prompt = np.zeros((3, len(known.sources)), bool)
        self._codes: dict[str, int] = {}
        self._source, self._hashes = array("H"), array("q")
        self._other_same, self._other_near = Counter(), Counter()

    def overlap(self, source: str | None = None) -> Overlap:
        """Of all rows that went by, or of one source's rows."""
        known = self._known
        mine = np.array([source in (None, name) for name in known.sources], bool)
        code = -1 if source is None else self._codes.get(source, -1)
        other = np.frombuffer(self._source, np.uint16) if self._source else np.empty(0, np.uint16)
        has_prompts = bool((known.has_prompt & mine).any())
        return Overlap(
            num_known=int(mine.sum()),
            num_same_row=int((self._same_row & mine).sum()),
            num_near_row=int((self._near_row & ~self._same_row & mine).sum()),
            num_same_prompt=int((self._same_prompt & mine).sum()) if has_prompts else None,
            num_other=len(other) if source is None else int((other == code).sum()),
            num_other_same_row=_count(self._other_same, source),
            num_other_near_row=_count(self._other_near, source),
            num_other_duplicates=self._duplicates(other, source, code),
        )

    def by_source(self) -> dict[str, Overlap]:
        """Empty where the rows are of one source."""
        names = sorted({*self._known.sources, *self._codes})
        return {name: self.overlap(name) for name in names} if len(names) > 1 else {}

    def look(self, others: OtherRows, leave_out: np.ndarray) -> np.ndarray:
        """bool, one of the others: it is, or nearly is, a known row. Those of `leave_out` have been taken away."""
        known, hits = self._known, np.zeros(len(others.rows), bool)
        near_rows = known.near.find(others.grams)
        for place in np.flatnonzero(~leave_out).tolist():
            source, rows = others.sources[place], others.rows[place]
            self._source.append(self._codes.setdefault(source, len(self._codes)))
            self._hashes.append(hash(rows[0]))
            if rows[0][0] in known.prompts or near_rows[place] or any(row in known.rows for row in rows):
                hits[place] = self._met(source, rows, near_rows[place])
        return hits

    def _met(self, source: str, rows: list[Row], near_rows: tuple[int, ...]) -> bool:
        """Note what this row and known ones have in common; whether it is, or nearly is, one of them."""
        known = self._known
        self._same_prompt[known.prompts.get(rows[0][0], [])] = True
        same = [number for row in rows for number in known.rows.get(row, [])]
        near = [number for row in near_rows for number in known.owners[row]]
        self._same_row[same] = True
        self._near_row[near] = True
        self._other_same[source] += bool(same)
        self._other_near[source] += bool(near) and not same
        return bool(same or near)

    def _duplicates(self, other: np.ndarray, source: str | None, code: int) -> int:
        hashes = np.frombuffer(self._hashes, np.int64) if self._hashes else np.empty(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        repeats = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
        return len(repeats) if source is None else int((other[repeats] == code).sum())


def watch(examples: Iterable[Example], finders: Sequence[OverlapFinder], *, remove: bool) -> Iterator[Example]:
    """The examples as they come, looked for in each finder's rows; with `remove` without those that are, or nearly
    are, one of them. What one finder has taken away the next ones do not see."""
    stream = iter(examples)
    while chunk := list(islice(stream, CHUNK)):
        others, gone = _others(chunk), np.zeros(len(chunk), bool)
        for finder in finders:
            hits = finder.look(others, gone)
            gone = gone | hits if remove else gone
        yield from (example for example, left in zip(chunk, ~gone, strict=True) if left)


def _others(chunk: Sequence[Example]) -> OtherRows:
    rows = [_rows(example, twin_key(example.prompt)) for example in chunk]
    return OtherRows([example.source for example in chunk], rows, grams_of([_words(own[0]) for own in rows]))


def _count(counter: Counter[str], source: str | None) -> int:
    return counter.total() if source is None else counter[source]


def _rows(example: Example, prompt: str) -> list[Row]:
    return [(prompt, twin_key(text)) for text in example.references or (example.target,)]


def _words(row: Row) -> Collection[str]:
    return EachWord(*row) if sum(map(len, row)) > LONG else [word for key in row for word in words(key)]
