"""Rows with conversations -> examples: each cut to its last answer, what was cut or left out counted."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tunelab.data.examples.conversations import is_empty, readable, said, trim
from tunelab.data.reading.lazy import Lazy
from tunelab.errors import DataError
from tunelab.records import Example, Turn

ReadTurns = Callable[[Mapping[str, Any], str], Sequence[Turn]]
"""A row and its name for messages ('train.jsonl: row 3') to its turns."""
ReadGiven = Callable[[Mapping[str, Any], str], str]
"""To what it gives a chat template beside them: `Example.given`."""
TrainOn = Literal["all", "last"]
"""Which of the assistant's turns are learned."""


class ChatCounts(NamedTuple):
    num_rows: int
    """Rows that were read."""
    num_without_answer: int = 0
    """Rows left out because no assistant's turn follows a user's."""
    num_unlearned: int = 0
    """Rows left out because none of their assistant's turns is to be learned: all have weight 0."""
    num_empty: int = 0
    """Rows left out because their last answer is empty or only whitespace."""
    num_cut: int = 0
    """Rows used without the turns before their first user's or after their last learned one."""
    num_weight_0: int = 0
    """Assistant's turns of used rows that are read and not learned, because they say so."""
    num_empty_turns: int = 0
    """The same, because they are empty."""

    def notes(self, name: str) -> list[str]:
        """What a reader should know, a line each; `name` begins them, as in 'train'."""
        behind = "assistant's" if not self.num_weight_0 else "assistant's that is learned"
        left_out = (
            (self.num_without_answer, "left out, no assistant's turn follows a user's"),
            (self.num_unlearned, "left out, all of their assistant's turns have weight 0"),
            (self.num_empty, "left out, their target is empty"),
            (self.num_cut, f"used without the turns before their first user's or after their last {behind}"),
        )
        notes = [f"{name}: {number} of {self.num_rows} rows {what}" for number, what in left_out if number]
        if self.num_weight_0:
            notes.append(f"{name}: {self.num_weight_0} turns of the assistant have weight 0: read, not learned")
        if self.num_empty_turns:
            notes.append(f"{name}: {self.num_empty_turns} turns of the assistant are empty: read, not learned")
        return notes


class ChatExamples(NamedTuple):
    examples: Sequence[Example]
    """Made when asked for."""
    counts: ChatCounts


def chat_examples(
    rows: Sequence[Mapping[str, Any]],
    read: ReadTurns,
    *,
    split: str,
    source: str,
    group: bool = False,
    train_on: TrainOn = "all",
    given: ReadGiven | None = None,
) -> ChatExamples:
    """Examples whose target is the last learned answer, whose prompt is the turns before it as plain text for a reader.

    Args:
        split: begins the ids: 'test-000012' is row 12 of the source, counted from 0, whatever was left out.
        source: file or data set, for messages.
        group: rows with equal turns before their last answer become one example, at the place of the first, with all
            their last answers as references. A row whose last answer is more than text stays alone.
        train_on: learn every answer that is to be learned, or the last of them alone.

    Raises:
        DataError: what `read` and `given` raise, or no row with an answer.
    """
    chats = _Chats(rows, read, given, split, source, train_on)
    positions, references, seen = array("q"), {}, {}
    counts: Counter[str] = Counter()
    for position in range(len(rows)):
        example = chats.example(position, counts)
        if example is None:
            continue
        key = _asked(example) if group and not example.turns[-1].more else position
        first = seen.setdefault(key, position) if group else position
        if first == position:
            positions.append(position)
        if group:
            references.setdefault(first, []).append(example.target)
    made = ChatCounts(len(rows), **counts)
    if not positions:
        unlearned = f", {made.num_unlearned} of weight 0 alone" if made.num_unlearned else ""
        raise DataError(
            f"{source}: none of its {len(rows)} rows has an answer to learn ({made.num_without_answer} without an "
            f"assistant's turn after a user's, {made.num_empty} with an empty one{unlearned})"
        )
    chats.keep(positions, references)
    return ChatExamples(chats, made)


def _asked(example: Example) -> tuple[Any, ...]:
    """Equal where a model is asked the same, whatever of it is learned."""
    return example.given, *((turn.role, turn.text, turn.more) for turn in example.turns[:-1])


class _Chats(Lazy[Example]):
    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        read: ReadTurns,
        given: ReadGiven | None,
        split: str,
        source: str,
        train_on: TrainOn,
    ) -> None:
        self.rows, self.read, self.given = rows, read, given
        self.split, self.source, self.train_on = split, source, train_on
        self.positions = np.arange(len(rows))
        self.references: Mapping[int, Sequence[str]] = {}

    def example(self, position: int, counts: Counter[str]) -> Example | None:
        """Of one row; None: it has no answer to learn."""
        row, name = self.rows[position], f"{self.source}: row {position + 1}"
        read = self.read(row, name)
        turns, num_cut = trim(read)
        if not turns:
            spoken = trim([turn._replace(learned=True) for turn in read]).turns
            counts["num_unlearned" if spoken else "num_without_answer"] += 1
            return None
        if is_empty(turns[-1]):
            counts["num_empty"] += 1
            return None
        counts["num_cut"] += num_cut > 0
        unlearned = [is_empty(turn) for turn in turns if turn.role == "assistant" and not turn.learned]
        counts["num_empty_turns"] += sum(unlearned)
        counts["num_weight_0"] += len(unlearned) - sum(unlearned)
        if self.train_on == "last":
            turns = (*(turn._replace(learned=turn.role != "assistant") for turn in turns[:-1]), turns[-1])
        target = said(turns[-1])
        given = self.given(row, name) if self.given else ""
        number = f"{self.split}-{position:06d}"
        return Example(number, readable(turns[:-1]), target, (target,), turns, given=given)

    def keep(self, positions: array, references: Mapping[int, Sequence[str]]) -> None:
        self.positions, self.references = np.frombuffer(positions, np.int64), references

    def __len__(self) -> int:
        return len(self.positions)

    def _at(self, position: int) -> Example:
        row = int(self.positions[position])
        example = self.example(row, Counter())
        assert example is not None, f"{self.source}: row {row + 1} has changed"
        return example._replace(references=tuple(self.references.get(row, example.references)))
