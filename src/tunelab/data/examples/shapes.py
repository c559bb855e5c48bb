"""Which of the well-known shapes rows have, told by their columns: conversations, Alpaca, prompt and answer, text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tunelab.errors import DataError

Kind = Literal["messages", "completion", "alpaca", "pair", "text"]


class Shape(NamedTuple):
    """How rows are read."""

    kind: Kind
    name: str
    """As a reader is told: 'sharegpt conversations'."""
    columns: tuple[str, ...]
    """The columns that are read: the one with messages; a prompt's and an answer's or completion's; the text's."""

    @property
    def prompt(self) -> str | None:
        """The template of a pair."""
        return f"{{{self.columns[0]}}}\n" if self.kind == "pair" else None

    @property
    def target(self) -> str | None:
        """The template of what a pair or a text learns."""
        return f"{{{self.columns[-1]}}}" if self.kind in ("pair", "text") else None

    @property
    def option(self) -> str:
        """What to write into the study to mean these columns."""
        if self.kind == "messages":
            return f"messages: {self.columns[0]}"
        asked = "".join(f"{{{column}}}\\n" for column in self.columns[:-1])
        answer = f'"{{{self.columns[-1]}}}"'
        return f"text: {answer}" if self.kind == "text" else f'prompt: "{asked}", target: {answer}'


_MESSAGES = (("messages", "openai messages"), ("conversations", "sharegpt conversations"))
_PAIRS = (("prompt", "completion"), ("question", "answer"))

HOW_TO_SAY = (
    "write prompt: and target: (or text:) with columns in braces, or messages: with the column that holds conversations"
)


def detect(columns: Sequence[str], *, source: str) -> Shape:
    """The shape that columns of these names have. `text` counts only where nothing else fits, because many data sets
    carry the same rows written out as one text beside them.

    Raises:
        DataError: none or several of the shapes fit; `source` begins the message.
    """
    found = [Shape("messages", name, (column,)) for column, name in _MESSAGES if column in columns]
    if {"instruction", "output"} <= set(columns):
        read = tuple(column for column in ("instruction", "input", "output") if column in columns)
        found.append(Shape("alpaca", f"alpaca ({', '.join(read)})", read))
    found += [
        Shape("pair", f"{prompt} and {answer}", (prompt, answer))
        for prompt, answer in _PAIRS
        if {prompt, answer} <= set(columns)
    ]
    if not found and "text" in columns:
        found = [Shape("text", "plain text (text)", ("text",))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(
            f"{source}: its columns ({', '.join(columns)}) have none of the known shapes (messages, conversations, "
            f"instruction and output, prompt and completion, question and answer, text); {HOW_TO_SAY}"
        )
    names = " or ".join(shape.name for shape in found)
    options = ", or ".join(shape.option for shape in found)
    raise DataError(f"{source}: can be read as {names}; write which: {options}")


def shape_of(rows: Sequence[Mapping[str, Any]], *, source: str) -> Shape:
    """The shape that rows have: their columns', with a pair of lists of messages told from a pair of texts.

    Raises:
        DataError: none or several of the shapes fit; `source` begins the message.
    """
    shape = detect(first_columns(rows), source=source)
    if shape.kind == "pair" and all(isinstance(rows[0].get(column), list) for column in shape.columns):
        return Shape("completion", f"{shape.name} as messages", shape.columns)
    return shape


def first_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Every column of the first hundred rows, in order of appearance."""
    return tuple(dict.fromkeys(column for row in rows[:100] for column in row))
