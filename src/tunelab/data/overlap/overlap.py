"""Test rows that also stand in train, exactly or nearly, and rows that stand in train twice; counted before training.

Texts are compared without regard to case and to the amount of whitespace. Near: near_rows.py, over prompt and
target together.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from tunelab.data.overlap.near_rows import SIMILARITY, NearRows
from tunelab.data.tokens.counts import LOUD_SHARE
from tunelab.records import Example

CHUNK = 1000
"""Train rows compared at a time."""


class Overlap(NamedTuple):
    num_test: int
    num_same_row: int
    """Test examples of which prompt and one reference together are a row of train."""
    num_near_row: int
    """Test examples of which they are nearly one, and not one."""
    num_same_prompt: int | None
    """Test examples whose prompt is a prompt of train; None for plain text, which has no prompts."""
    num_train: int
    num_train_same_row: int
    """Train rows that are a test row."""
    num_train_near_row: int
    """Train rows that nearly are one, and are none."""
    num_train_duplicates: int
    """Train rows that repeat an earlier one."""

    @property
    def share_same_row(self) -> float | None:
        return self.num_same_row / self.num_test if self.num_test else None


class OverlapFinder:
    """Watches train rows go by and remembers what they have in common with test, which is in memory."""

    def __init__(self, test: Iterable[Example]) -> None:
        self._sources: list[str] = []
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._prompts: dict[str, list[int]] = {}
        has_prompt = []
        for number, example in enumerate(test):
            self._sources.append(example.source)
            prompt = _normal(example.prompt)
            has_prompt.append(bool(prompt))
            if prompt:
                self._prompts.setdefault(prompt, []).append(number)
            for text in _texts(example):
                self._rows.setdefault((prompt, _normal(text)), []).append(number)
        self._owners = list(self._rows.values())
        self._index = NearRows([_words(row) for row in self._rows])
        self._has_prompt = np.array(has_prompt, bool)
        self._same_row, self._near_row, self._same_prompt = np.zeros((3, len(self._sources)), bool)
        self._train_sources: dict[str, int] = {}
        self._train_source, self._hashes = array("H"), array("q")
        self._train_same, self._train_near = Counter(), Counter()

    def watch(self, train: Iterable[Example], *, remove: bool) -> Iterator[Example]:
        """The train rows as they come; with `remove` without those that are, or nearly are, a test row."""
        stream = iter(train)
        while chunk := list(islice(stream, CHUNK)):
            hits = self._look(chunk)
            yield from (example for example, hit in zip(chunk, hits, strict=True) if not (hit and remove))

    def overlap(self, source: str | None = None) -> Overlap:
        """Of all rows that went by, or of one source's rows."""
        mine = np.array([source in (None, name) for name in self._sources], bool)
        code = -1 if source is None else self._train_sources.get(source, -1)
        train = np.frombuffer(self._train_source, np.uint16) if self._train_source else np.empty(0, np.uint16)
        has_prompts = bool((self._has_prompt & mine).any())
        return Overlap(
            num_test=int(mine.sum()),
            num_same_row=int((self._same_row & mine).sum()),
            num_near_row=int((self._near_row & ~self._same_row & mine).sum()),
            num_same_prompt=int((self._same_prompt & mine).sum()) if has_prompts else None,
            num_train=len(train) if source is None else int((train == code).sum()),
            num_train_same_row=_count(self._train_same, source),
            num_train_near_row=_count(self._train_near, source),
            num_train_duplicates=self._duplicates(train, source, code),
        )

    def by_source(self) -> dict[str, Overlap]:
        """Empty where the rows are of one source."""
        names = sorted({*self._sources, *self._train_sources})
        return {name: self.overlap(name) for name in names} if len(names) > 1 else {}

    def _look(self, chunk: list[Example]) -> list[bool]:
        hits, words = [], []
        for example in chunk:
            prompt = _normal(example.prompt)
            rows = [(prompt, _normal(text)) for text in _texts(example)]
            self._same_prompt[self._prompts.get(prompt, [])] = True
            owners = [number for row in rows for number in self._rows.get(row, [])]
            self._same_row[owners] = True
            self._train_same[example.source] += bool(owners)
            self._train_source.append(self._train_sources.setdefault(example.source, len(self._train_sources)))
            self._hashes.append(hash(rows[0]))
            hits.append(bool(owners))
            words.append(_words(rows[0]))
        for place, near in enumerate(self._index.find(words)):
            self._near_row[[number for row in near for number in self._owners[row]]] = True
            self._train_near[chunk[place].source] += bool(near) and not hits[place]
            hits[place] = hits[place] or bool(near)
        return hits

    def _duplicates(self, train: np.ndarray, source: str | None, code: int) -> int:
        hashes = np.frombuffer(self._hashes, np.int64) if self._hashes else np.empty(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        repeats = order[1:][hashes[order[1:]] == hashes[order[:-1]]]
        return len(repeats) if source is None else int((train[repeats] == code).sum())


def overlap_notes(overlap: Overlap, *, removed: bool) -> list[str]:
    """What a reader should know: loud above 1 %."""
    same, near, total = overlap.num_same_row, overlap.num_near_row, overlap.num_test
    notes = []
    if removed and (number := overlap.num_train_same_row + overlap.num_train_near_row):
        notes.append(
            f"train: {number} of {overlap.num_train} rows removed: {overlap.num_train_same_row} are test rows, "
            f"{overlap.num_train_near_row} nearly are"
        )
    elif not removed and same > LOUD_SHARE * total:
        notes.append(
            f"WARNING test: {same} of {total} test examples ({same / total:.1%}) are rows of train: scores measure "
            "memory too; data.overlap: remove takes them out of train"
        )
    if not removed and near > LOUD_SHARE * total:
        notes.append(
            f"WARNING test: {near} of {total} test examples ({near / total:.1%}) are nearly rows of train (at least "
            f"{SIMILARITY:.0%} of the word 5-grams of both are shared); data.overlap: remove takes them out of train"
        )
    if overlap.num_train_duplicates > LOUD_SHARE * overlap.num_train:
        share = overlap.num_train_duplicates / overlap.num_train
        notes.append(f"train: {overlap.num_train_duplicates} of {overlap.num_train} rows ({share:.1%}) repeat another")
    return notes


def _count(counter: Counter[str], source: str | None) -> int:
    return counter.total() if source is None else counter[source]


def _texts(example: Example) -> tuple[str, ...]:
    return example.references or (example.target,)


def _words(row: tuple[str, str]) -> list[str]:
    return [word for text in row for word in text.split()]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
