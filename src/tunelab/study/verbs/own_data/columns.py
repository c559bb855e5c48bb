"""What rows that nobody has described are for: columns that make prompt and target, by their names or by a guess."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tunelab.data.examples.conversations import read_turns
from tunelab.data.reading.rows import Row
from tunelab.errors import DataError
from tunelab.study.verbs.own_data.odd_columns import are_ids, are_labels, is_missing, spread

_PROMPTS_AND_TARGETS = (
    (("instruction", "input"), "output"),
    (("instruction",), "output"),
    (("instruction",), "response"),
    (("context", "question"), "answer"),
    (("question",), "answer"),
    (("question",), "response"),
    (("query",), "response"),
    (("prompt",), "completion"),
    (("prompt",), "response"),
    (("prompt",), "target"),
    (("input",), "output"),
    (("input",), "target"),
    (("inputs",), "targets"),
    (("source",), "target"),
    (("article",), "summary"),
    (("article",), "highlights"),
    (("article",), "headline"),
    (("document",), "summary"),
    (("dialogue",), "summary"),
    (("text",), "summary"),
    (("text",), "headlines"),
    (("meaning",), "text"),
    (("meaning_representation",), "human_reference"),
    (("mr",), "ref"),
    (("text",), "label"),
)
"""Columns known from published data sets; the first line of which all are there is taken. Case does not count."""

_MESSAGE_COLUMNS = ("messages", "conversations")

_TEXT_COLUMNS = ("text", "content", "document", "story")

_LABEL_NAMES = frozenset(
    "label labels sentiment class category intent emotion stars rating score topic polarity target".split()
)
_NO_LABEL_NAMES = frozenset("split lang language source domain dataset subset license".split())
"""Columns that say where a row is from."""

_LONG = 3.0
"""Words of a column's values on average from which it is read beside another one."""


class Guess(NamedTuple):
    columns: tuple[str, ...]
    """That are read."""
    prompt: str | None
    target: str | None
    """Templates; None: `text` or `messages` in their place."""
    text: str | None
    messages: str | None
    """The column with conversations."""
    reason: str
    targets: tuple[str, ...] | None
    """Of some rows; None: plain text, of which the likelihood is scored."""
    by_name: bool = True
    """Told by the names of the columns, not by their order."""


def guess_columns(rows: Sequence[Row], path: Path) -> Guess:
    """Raises DataError: no column of text."""
    columns = {column.casefold(): column for column in rows[0] if is_name(column)}
    chats = [columns[name] for name in _MESSAGE_COLUMNS if name in columns and isinstance(rows[0][columns[name]], list)]
    if chats:
        reason = f"Conversations: written as the model's chat template says; every answer in {chats[0]} is learned."
        return Guess((chats[0],), None, None, None, chats[0], reason, _answers(rows, chats[0]))
    for prompts, target in _PROMPTS_AND_TARGETS:
        if all(column in columns for column in (*prompts, target)):
            asked = [columns[column] for column in prompts]
            return _prompt_and_target(rows, asked, columns[target], "Guessed from the names", by_name=True)
    return _guess_by_values(rows, path)


def guess_prompt(rows: Sequence[Row], path: Path) -> Guess:
    """As `guess_columns`, of rows that may have nothing to learn: a model is only asked by them."""
    columns = {column.casefold(): column for column in rows[0] if is_name(column)}
    if not any(name in columns for name in _MESSAGE_COLUMNS):
        for prompts, target in _PROMPTS_AND_TARGETS:
            if all(column in columns for column in prompts) and target not in columns and prompts != ("text",):
                asked = tuple(columns[column] for column in prompts)
                template = "".join(f"{{{column}}}\n" for column in asked)
                return Guess(asked, template, None, None, None, "Guessed from the names", None)
            if all(column in columns for column in (*prompts, target)):
                break
    return guess_columns(rows, path)


def is_name(column: str) -> bool:
    """Whether `{column}` can stand in a template."""
    return bool(column) and column.isprintable() and not set(column) & set('{}"\\')


def _guess_by_values(rows: Sequence[Row], path: Path) -> Guess:
    """By the order of the columns of text; one with a few short values that come again and again is the target."""
    some = spread(rows)
    values = {
        column: [value for row in some if not is_missing(value := row.get(column))]
        for column in rows[0]
        if is_name(column)
    }
    texts = [
        column
        for column, found in values.items()
        if found and all(isinstance(value, str) for value in found) and not are_ids(found, column=column)
    ] or [column for column in values if isinstance(rows[0][column], str)]
    plain = [column for column in texts if column.casefold() in _TEXT_COLUMNS]
    labels = [
        column
        for column, found in values.items()
        if are_labels(found) and column.casefold() not in _NO_LABEL_NAMES
        if not plain or column.casefold() in _LABEL_NAMES
    ]
    long = [column for column in texts if column not in labels and _mean_words(values[column]) >= _LONG]
    if len(labels) == 1 and (asked := long or [column for column in texts if column not in labels][:1]):
        how = "A GUESS from the values of the columns, please check"
        return _prompt_and_target(rows, asked, labels[0], how, by_name=False)
    if plain or len(texts) == 1:
        column = (plain or texts)[0]
        reason = "Plain text to model. To answer prompts instead, replace 'text' by 'prompt' and 'target'."
        return Guess((column,), None, None, f"{{{column}}}", None, reason, None)
    if len(texts) < 2:
        raise DataError(f"{path}: no column of text to learn from. Columns: {', '.join(rows[0])}")
    how = "A GUESS from the order of the columns, please check"
    return _prompt_and_target(rows, texts[:1], texts[1], how, by_name=False)


def _prompt_and_target(rows: Sequence[Row], prompts: list[str], target: str, how: str, *, by_name: bool) -> Guess:
    prompt = "".join(f"{{{column}}}\n" for column in prompts)
    reason = f"{how}: the model reads {' and '.join(prompts)}, and learns to write {target}."
    targets = tuple(_text(row[target]) for row in spread(rows) if not is_missing(row.get(target)))
    return Guess((*prompts, target), prompt, f"{{{target}}}", None, None, reason, targets, by_name)


def _text(value: object) -> str:
    """As a template writes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _mean_words(values: Sequence[object]) -> float:
    return sum(len(str(value).split()) for value in values) / max(len(values), 1)


def _answers(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    """The assistant's texts of some rows. A row that is no conversation is told when the study is planned."""
    texts = []
    for row in spread(rows):
        with suppress(DataError):
            turns = read_turns(row, column, row_name="row")
            texts += [turn.text for turn in turns if turn.role == "assistant"]
    return tuple(texts)
