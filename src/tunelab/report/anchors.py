"""Addresses inside a page: made of the words that a place is known by, so that a link to it stays true."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunelab.report.tables import Table

LONGEST = 80


def slug(text: str) -> str:
    """Letters, digits, dots, dashes and `=` of ASCII: what no address needs to escape."""
    return re.sub(r"[^A-Za-z0-9._=]+", "-", text).strip("-")[:LONGEST] or "x"


def slugs(texts: Sequence[str]) -> tuple[str, ...]:
    """One for each, never the same twice: the second of equal ones ends in -2."""
    anchors = Anchors()
    return tuple(anchors.of(text) for text in texts)


class Anchors:
    """The addresses of one page."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def of(self, *words: str) -> str:
        """Made of these words, and not given before."""
        plain = "-".join(map(slug, words))
        number = self._used.get(plain, 0) + 1
        found = plain if number == 1 else f"{plain}-{number}"
        while found in self._used:
            number += 1
            found = f"{plain}-{number}"
        self._used[plain] = number
        self._used.setdefault(found, 1)
        return found

    def of_rows(self, table: Table, at: str) -> list[str]:
        """One for each row: its first cell, and the second where the first ones alone are not different."""
        first = [row[0].text for row in table.rows]
        num_words = 1 if len(set(first)) == len(first) else 2
        return [self.of(at, *(cell.text for cell in row[:num_words])) for row in table.rows]
