"""The commented study that `tunelab init` writes for one's own data: prompt and target guessed from the columns."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tunelab.config.study_yaml import parse_yaml
from tunelab.data.examples.conversations import read_turns
from tunelab.data.reading.rows import Row, read_rows
from tunelab.errors import DataError
from tunelab.study.verbs.metric_choice import MetricChoice, choose_metrics

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
    (("meaning",), "text"),
    (("meaning_representation",), "human_reference"),
    (("mr",), "ref"),
    (("text",), "label"),
)
"""Columns known from published data sets; the first line of which all are there is taken. Case does not count."""

_MESSAGE_COLUMNS = ("messages", "conversations")

_FIRST_ROWS = 1000
"""Whose targets choose the metrics."""

_OF_PLAIN_TEXT = ("perplexity", "bits_per_token")

_TEXT_COLUMNS = ("text", "content", "document", "story")

_GENERIC_NAMES = ("", "train", "training", "data", "trainset", "train_data")


class _Guess(NamedTuple):
    columns: tuple[str, ...]
    """That are read."""
    lines: tuple[str, ...]
    """'key: value' lines of the task."""
    reason: str
    targets: tuple[str, ...] | None
    """Of the first rows; None: plain text, of which the likelihood is scored."""


def study_template(
    *,
    train: Path,
    test: Path,
    model: str,
    folder: Path,
    encoding: str = "utf-8",
    taken_names: Collection[str] = (),
) -> str:
    """Text of a study that reads back with `read_study`.

    Args:
        folder: where the study will stand; files below it are named relative to it.
        taken_names: names of bundled tasks, which the task must not have.

    Raises:
        DataError: a file cannot be read, has no column of text, or test lacks a column that train was guessed by.
    """
    rows = read_rows(train, encoding=encoding)
    guess = _guess(rows, train)
    _check_test(guess, test, encoding)
    name = _task_name(train, taken_names)
    metrics = MetricChoice(_OF_PLAIN_TEXT) if guess.targets is None else choose_metrics(guess.targets)
    task_lines = [
        f"  - name: {name}",
        f"    train: {_quoted(_relative(train, folder))}",
        f"    test: {_quoted(_relative(test, folder))}",
        "    # validation: FILE                # without it, 10 % of train (at most 500 rows) is held out",
        f"    # Columns of train: {_comment(', '.join(rows[0]))}",
        f"    # {_comment(guess.reason)}",
        *(f"    {line}" for line in guess.lines),
        *([f"    encoding: {encoding}"] if encoding != "utf-8" else []),
        *(f"    # {_comment(reason)}" for reason in metrics.reasons),
        f"    metrics: [{', '.join(metrics.names)}]",
    ]
    methods = _METHODS_OF_SMALL if model.startswith("tunelab/") else _METHODS
    return _TEXT.format(name=name, model=_quoted(_model(model, folder)), task="\n".join(task_lines), methods=methods)


def _guess(rows: Sequence[Row], path: Path) -> _Guess:
    columns = {column.casefold(): column for column in rows[0] if _is_name(column)}
    chats = [columns[name] for name in _MESSAGE_COLUMNS if name in columns and isinstance(rows[0][columns[name]], list)]
    if chats:
        reason = f"Conversations: written as the model's chat template says; every answer in {chats[0]} is learned."
        return _Guess((chats[0],), (f"messages: {_quoted(chats[0])}",), reason, _answers(rows, chats[0]))
    for prompts, target in _PROMPTS_AND_TARGETS:
        if all(column in columns for column in (*prompts, target)):
            return _prompt_and_target(
                rows, [columns[column] for column in prompts], columns[target], "Guessed from the names"
            )
    texts = [column for column in rows[0] if _is_name(column) and isinstance(rows[0][column], str)]
    plain = [column for column in texts if column.casefold() in _TEXT_COLUMNS]
    if plain or len(texts) == 1:
        column = (plain or texts)[0]
        reason = "Plain text to model. To answer prompts instead, replace 'text' by 'prompt' and 'target'."
        return _Guess((column,), (f"text: {_quoted(f'{{{column}}}')}",), reason, None)
    if len(texts) < 2:
        raise DataError(f"{path}: no column of text to learn from. Columns: {', '.join(rows[0])}")
    return _prompt_and_target(rows, texts[:1], texts[1], "A GUESS from the order of the columns, please check")


def _prompt_and_target(rows: Sequence[Row], prompts: list[str], target: str, how: str) -> _Guess:
    prompt = "".join(f"{{{column}}}\n" for column in prompts)
    reason = f"{how}: the model reads {' and '.join(prompts)}, and learns to write {target}."
    lines = (f"prompt: {_quoted(prompt)}", f"target: {_quoted(f'{{{target}}}')}")
    targets = tuple(value for row in rows[:_FIRST_ROWS] if isinstance(value := row.get(target), str))
    return _Guess((*prompts, target), lines, reason, targets)


def _answers(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    """The assistant's texts of the first rows. A row that is no conversation is told when the study is planned."""
    texts = []
    for row in rows[:_FIRST_ROWS]:
        with suppress(DataError):
            turns = read_turns(row, column, row_name="row")
            texts += [turn.text for turn in turns if turn.role == "assistant"]
    return tuple(texts)


def _check_test(guess: _Guess, test: Path, encoding: str) -> None:
    columns = read_rows(test, encoding=encoding)[0]
    for column in guess.columns:
        if column not in columns:
            raise DataError(
                f"{test}: has no column {column!r}, which train has; both need the same columns. "
                f"Columns: {', '.join(columns)}"
            )


def _is_name(column: str) -> bool:
    """Whether `{column}` can stand in a template."""
    return bool(column) and column.isprintable() and not set(column) & set('{}"\\')


def _task_name(train: Path, taken: Collection[str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", train.stem).strip("-._")
    stem = re.sub(r"[._-](train|training)$", "", stem)
    name = "my-task" if stem.casefold() in _GENERIC_NAMES else stem
    plain = name[0].isalpha() and parse_yaml(name).value == name  # 'null' and 'true' are not names in YAML
    return name if plain and name not in taken else f"my-{name}"


def _model(model: str, folder: Path) -> str:
    """A local folder is found again from where the study stands."""
    return _relative(Path(model), folder) if os.path.isdir(os.path.expanduser(model)) else model


def _relative(path: Path, folder: Path) -> str:
    """Relative to the study where the file is at or below its folder, else absolute."""
    absolute, folder = Path(os.path.abspath(os.path.expanduser(path))), Path(os.path.abspath(folder))
    return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)


def _quoted(text: str) -> str:
    """JSON's quoting is YAML's double-quoted form."""
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """One printable line."""
    return "".join(character if character.isprintable() else "?" for character in text)


_METHODS = """\
  - full
  - lora: {rank: 8, alpha: 16}
  # - lora: {rank: 8, alpha: 16, learning_rate: auto}"""

_METHODS_OF_SMALL = """\
  # The embedded models are small, and learn at far higher rates than the defaults (full 2e-5, lora 2e-4).
  - full: {learning_rate: 1e-3}
  - lora: {rank: 8, alpha: 16, learning_rate: 5e-3}
  # - lora: {rank: 8, alpha: 16, learning_rate: [2e-3, 5e-3, 1e-2]}"""

_TEXT = """\
# A tunelab study: methods x tasks x seeds on one base model.
#   tunelab plan THIS_FILE     every problem at once, then the runs and what they need
#   tunelab run THIS_FILE      trains what is not finished, and writes the report
name: {name}

# A hub id, a local folder, or tunelab/tiny (embedded, needs no network).
model: {model}

tasks:
{task}

# One entry a row of the comparison; the untouched base model is always added.
# A list of learning rates is a search: each is tried on the first seed, the lowest validation loss wins. auto: three
# around the method's documented rate, the same ladder for every method; one more where the winner stands at an edge.
methods:
{methods}

# Every method runs once a seed; with one nothing is compared. `tunelab run --until decided` adds seeds as needed.
seeds: [0, 1, 2]

# What a method may lack and still be as good as the best: a share of the best's gain over the base, or a number in the
# metric's unit. Of those as good the cheapest is kept; cost: memory, time, size, price.
decision: {{margin: 10 %, cost: memory}}

# epochs, steps, tokens (supervised): any of them; the first one reached ends a run.
budget: {{epochs: 3}}

# examples: per optimizer step. max_tokens: per micro-batch, bounds memory only. max_length: of a row.
batch: {{examples: 16, max_tokens: 4096, max_length: 512}}

# overlong: rows longer than max_length; also truncate, drop, error. packing: short plain texts share training rows.
data: {{overlong: truncate_prompt, packing: true}}

# every: share of an epoch between two passes over the validation rows. keep: best is the pass with the lowest loss.
validation: {{every: 0.25, keep: last}}

# How text is generated for scoring; beams: 1 is greedy.
generation: {{beams: 1, max_new_tokens: 128}}
"""
