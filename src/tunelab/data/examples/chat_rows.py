"""Rows with conversations -> examples: each cut to its last answer, what was cut or left out counted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tunelab.data.examples.conversations import Trimmed, readable, trim
from tunelab.data.reading.lazy import Lazy
from tunelab.errors import DataError
from tunelab.records import Example, Turn

ReadTurns = Callable[[Mapping[str, Any], str], Sequence[Turn]]
"""A row and its name for messages ('train.jsonl: row 3') to its turns."""


class ChatCounts(NamedTuple):
    num_rows: int
    """Rows that were read."""
    num_without_answer: int
    """Rows left out because no assistant's turn follows a user's."""
    num_empty: int
    """Rows left out because their last answer is empty or only whitespace."""
    num_cut: int
    """Rows used without the turns before their first user's or after their last assistant's."""

    def notes(self, name: str) -> list[str]:
        """What a reader should know, a line each; `name` begins them, as in 'train'."""
        said = (
            (self.num_without_answer, "left out, no assistant's turn follows a user's"),
            (self.num_empty, "left out, their target is empty"),
            (self.num_cut, "used without the turns before their first user's or after their last assistant's"),
        )
        return [f"{name}: {number} of {self.num_rows} rows {what}" for number, what in said if number]


class ChatExamples(NamedTuple):
    examples: Sequence[Example]
    """Made when asked for."""
    counts: ChatCounts


def chat_examples(
    rows: Sequence[Mapping[str, Any]], read: ReadTurns, *, split: str, source: str, group: bool = False
) -> ChatExamples:
    """Examples whose target is the last answer, whose prompt is the turns before it as plain text for a reader.

    Args:
        split: begins the ids: 'test-000012' is row 12 of the source, counted from 0, whatever was left out.
        source: file or data set, for messages.
        group: rows with equal turns before their last answer become one example, at the place of the first, with all
            their last answers as references.

    Raises:
        DataError: what `read` raises, or no row with an answer.
    """
    chats = _Chats(rows, read, split, source)
    positions, references, seen = array("q"), {}, {}
    num_without_answer = num_empty = num_cut = 0
    for position in range(len(rows)):
        turns, num_turns_cut = chats.trimmed(position)
        if not turns or not turns[-1].text.strip():
            num_without_answer += not turns
            num_empty += bool(turns)
            continue
        num_cut += num_turns_cut > 0
        first = seen.setdefault(turns[:-1], position) if group else position
        if first == position:
            positions.append(position)
        if group:
            references.setdefault(first, []).append(turns[-1].text)
    counts = ChatCounts(len(rows), num_without_answer, num_empty, num_cut)
    if not positions:
        raise DataError(
            f"{source}: none of its {len(rows)} rows has an answer to learn ({num_without_answer} without an "
            f"assistant's turn after a user's, {num_empty} with an empty one)"
        )
    chats.keep(positions, references)
    return ChatExamples(chats, counts)


class _Chats(Lazy[Example]):
    def __init__(self, rows: Sequence[Mapping[str, Any]], read: ReadTurns, split: str, source: str) -> None:
        self.rows, self.read, self.split, self.source = rows, read, split, source
        self.positions = np.arange(len(rows))
        self.references: Mapping[int, Sequence[str]] = {}

    def trimmed(self, position: int) -> Trimmed:
        return trim(self.read(self.rows[position], f"{self.source}: row {position + 1}"))

    def keep(self, positions: array, references: Mapping[int, Sequence[str]]) -> None:
        self.positions, self.references = np.frombuffer(positions, np.int64), references

    def __len__(self) -> int:
        return len(self.positions)

    def _at(self, position: int) -> Example:
        row = int(self.positions[position])
        turns = self.trimmed(row).turns
        target = turns[-1].text
        return Example(
            f"{self.split}-{row:06d}",
            readable(turns[:-1]),
            target,
            tuple(self.references.get(row, (target,))),
            turns,
        )
