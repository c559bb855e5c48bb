"""What data/<task>.json says of a split: which rows, how many of each source, how long they are."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tunelab.data.tokens.counts import Counts
from tunelab.data.tokens.token_store import NamedRow, TokenRows
from tunelab.records import Example, TokenRow

LISTED_ROWS = 10_000
"""Of a larger split the ids are not listed: a digest tells whether two starts have chosen the same."""
BINS = 10


class Watched:
    """Examples on their way to the tokeniser: counts them, and gives their ids to the token rows made of them."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._examples = iter(examples)
        self.num_examples = 0
        self.sources: Counter[str] = Counter()
        self._listed: list[str] = []
        self._digest = hashlib.sha256()
        self._waiting: deque[str] = deque()
        self._first = 0
        """Which example the first waiting id is of."""

    def __iter__(self) -> Iterator[Example]:
        for example in self._examples:
            self.num_examples += 1
            self.sources[example.source] += 1
            self._digest.update(f"{example.id}\n".encode(errors="surrogatepass"))
            if self.num_examples <= LISTED_ROWS:
                self._listed.append(example.id)
            self._waiting.append(example.id)
            yield example

    def named(self, rows: Iterable[TokenRow]) -> Iterator[NamedRow]:
        """Rows come in the order of their examples, and later than these."""
        for row in rows:
            while self._first < row.example:
                self._waiting.popleft()
                self._first += 1
            yield NamedRow(row, self._waiting[0])

    def finish(self) -> None:
        """Look at the examples that nobody has asked for."""
        for _ in self:
            self._waiting.clear()

    def rows(self) -> list[str] | dict[str, Any]:
        if self.num_examples <= LISTED_ROWS:
            return self._listed
        return {"num_rows": self.num_examples, "sha256_of_ids": self._digest.hexdigest(), "first": self._listed[:10]}


def split_summary(counts: Counts, watched: Watched, rows: TokenRows) -> dict[str, Any]:
    return {
        "counts": counts.model_dump(),
        "sources": {name: number for name, number in sorted(watched.sources.items()) if name},
        "lengths": _histogram(rows.sizes.num_tokens),
        "rows": watched.rows(),
    }


def _histogram(lengths: np.ndarray) -> dict[str, list[int]]:
    """`num_rows[i]` rows have more than `tokens[i]` and at most `tokens[i + 1]` tokens."""
    longest = int(lengths.max(initial=0))
    edges = np.unique(np.ceil(np.linspace(0, longest, BINS + 1)).astype(np.int64))
    places = np.searchsorted(edges, lengths, side="left") - 1
    return {"tokens": edges.tolist(), "num_rows": np.bincount(places, minlength=len(edges) - 1).tolist()}
