"""Prompts that a user gives (an option, the lines or rows of a file, standard input), and what a model is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.data.examples.conversations import question, read_turns
from tunelab.data.examples.formats import asked
from tunelab.data.reading.found_rows import find_rows
from tunelab.data.reading.row_formats import format_of
from tunelab.data.reading.rows import check_is_file
from tunelab.data.reading.text_file import TextFile
from tunelab.data.reading.values import parse_json
from tunelab.errors import ConfigError, DataError
from tunelab.records import Example, Turn
from tunelab.study.executing.saved import Saved
from tunelab.study.planning.plan import parts
from tunelab.study.verbs.own_data.columns import Guess, guess_prompt

Prompt = str | Mapping[str, Any]
"""Text, or a row whose columns fill the prompt template of the run's task."""

_TABLES = (".csv", ".tsv", ".parquet")
_JSON = (".jsonl", ".json")
_LINES = (".txt", "")
"""A file without a suffix is one, too: /dev/stdin, a pipe of the shell."""


class Given(NamedTuple):
    prompts: Sequence[Prompt]
    notes: tuple[str, ...] = ()
    """How the file was read."""


class Asking(NamedTuple):
    examples: list[Example]
    notes: tuple[str, ...]
    """How rows were read that no task describes."""


def read_prompts(*, prompt: str | None = None, file: Path | None = None) -> Given:
    """Prompts from an option, a file, or standard input: one a line; of .jsonl and .json texts or rows; the rows of
    .csv, .tsv and .parquet, read as `tunelab init` reads them.

    Raises:
        ConfigError: both given. DataError: the file cannot be read, or has an empty line.
    """
    if prompt is not None and file is not None:
        raise ConfigError("give --prompt or --file, not both")
    if prompt is not None:
        return Given([prompt])
    if file is None:
        return Given(_lines(sys.stdin.read(), "standard input"))
    kind = format_of(file)
    if kind not in (*_TABLES, *_JSON, *_LINES):
        known = ", ".join([".txt", *_JSON, *_TABLES])
        raise DataError(f"{file}: unknown kind of file {kind!r}; use {known}, or name a file of lines .txt")
    check_is_file(file)
    if kind in _LINES:
        return Given(_lines(TextFile(file, "utf-8").read(), str(file)))
    if kind == ".jsonl":
        lines = _lines(TextFile(file, "utf-8").read(), str(file))
        return Given([_entry(_json(line, f"{file}:{n}"), f"{file}:{n}") for n, line in enumerate(lines, 1)])
    if kind == ".json":
        entries = _json(TextFile(file, "utf-8").read(), str(file))
        if not isinstance(entries, list) or not entries:
            raise DataError(f"{file}: must be a list of texts or of objects {{column: value}}, with one at least")
        return Given([_entry(entry, f"{file}: entry {number}") for number, entry in enumerate(entries, 1)])
    found = find_rows(file)
    return Given(list(found.rows), found.notes)


def _lines(text: str, source: str) -> list[str]:
    """An empty line is refused: as a prompt it asks nothing, and left out the answers would not stand beside it."""
    lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n") if text.strip() else []
    lines = [line.removesuffix("\r") for line in lines]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError(f"{source}:{number}: is empty, and each line is a prompt; take the empty lines out")
    return lines


def _json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg})") from None


def _entry(value: Any, where: str) -> Prompt:
    if not isinstance(value, str | dict):
        raise DataError(f"{where}: each entry must be a JSON text or an object {{column: value}}")
    return value


def ask(prompts: Sequence[Prompt], saved: Saved, *, system: str | None = None, chat: bool = False) -> Asking:
    """What the model is asked. A run's as it was trained: a text or a row in its task's prompt template, or as the
    user's turn of a conversation; any other model is given the text as it is, of rows what their columns seem to mean.

    Args:
        system: a system turn in front of each conversation.
        chat: every text is a user's turn, whatever the model was trained on.

    Raises:
        ConfigError: a system text and no conversation. DataError: a row without the columns, or with its own system
            text.
    """
    rows = [dict(prompt) for prompt in prompts if not isinstance(prompt, str)]
    guess = guess_prompt(rows, Path("the rows")) if rows and saved.run is None else None
    examples = [
        _with_system(_example(prompt, saved, guess, chat=chat, name=f"prompt {number}"), system)
        for number, prompt in enumerate(prompts, 1)
    ]
    if guess is None:
        return Asking(examples, ())
    form = (
        f"the conversation in {guess.messages}" if guess.messages else json.dumps(_template(guess), ensure_ascii=False)
    )
    return Asking(examples, (f"rows are asked as {form}, by the names of their columns",))


def _example(prompt: Prompt, saved: Saved, guess: Guess | None, *, chat: bool, name: str) -> Example:
    if chat and isinstance(prompt, str):
        return question(prompt, name=name)
    if guess is not None and not isinstance(prompt, str):
        example = _of_guess(prompt, guess, name=name)
    elif saved.run is None:
        example = asked(prompt, None, name=name)
    else:
        task = parts(saved.run).task
        example = task.question(prompt, name=name) or asked(prompt, getattr(task, "prompt", None), name=name)
    return question(example.prompt, name=name) if chat and not example.turns else example


def _of_guess(row: Mapping[str, Any], guess: Guess, *, name: str) -> Example:
    if guess.messages is not None:
        return question(read_turns(row, guess.messages, row_name=name), name=name)
    return asked(row, _template(guess), name=name)


def _template(guess: Guess) -> str | None:
    return guess.text if guess.prompt is None else guess.prompt


def _with_system(example: Example, system: str | None) -> Example:
    if system is None:
        return example
    if not example.turns:
        raise ConfigError("--system: is a turn of a conversation, and this model is asked in none; give --chat too")
    if any(turn.role == "system" for turn in example.turns):
        raise DataError(f"{example.id}: has a system text of its own; leave --system out, or take it out of the row")
    return example._replace(turns=(Turn("system", system), *example.turns))
