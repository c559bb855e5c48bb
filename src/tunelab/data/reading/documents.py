"""Rows of text sets as documents: WikiText's lines joined to articles, a text that stands in many rows taken once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunelab.data.reading.lazy import Lazy, Selected
from tunelab.data.reading.rows import Row

_TITLE = re.compile(r"^ ?= (?!=).*(?<!=) = ?$")
"""' = Robert Boulter = ', and not a section's ' = = Career = = '."""


def articles(rows: Sequence[Row]) -> Sequence[Row]:
    """WikiText's rows, a line each in `text`, as articles {text}: an article begins where a title stands between two
    lines without text. Lines stay as they are, those without text left out."""
    blank_before, waiting = True, None
    starts: list[int] = []
    for position, row in enumerate(rows):
        line = row["text"].rstrip("\r\n")
        blank = not line.strip()
        if waiting is not None and blank:
            starts.append(waiting)
        waiting = position if blank_before and _TITLE.match(line) else None
        blank_before = blank
    if not starts:
        return rows  # Already whole articles, or a piece of one.
    return _Articles(rows, np.array([*starts, len(rows)], np.int64))


def distinct(rows: Sequence[Row], column: str) -> Sequence[Row]:
    """The first row of each value in the column."""
    first: dict[Any, int] = {}
    for position, row in enumerate(rows):
        first.setdefault(row[column], position)
    return Selected(rows, first.values())


class _Articles(Lazy[Row]):
    def __init__(self, rows: Sequence[Row], bounds: np.ndarray) -> None:
        self.rows, self.bounds = rows, bounds

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def _at(self, position: int) -> Row:
        lines = (self.rows[number]["text"] for number in range(*self.bounds[position : position + 2].tolist()))
        return {"text": "".join(line if line.endswith("\n") else f"{line}\n" for line in lines if line.strip()).strip()}
