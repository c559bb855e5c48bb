"""The commented study that `tunelab init` writes for one's own data: its files, columns, metrics and defaults."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.config.study_yaml import parse_yaml
from tunelab.data.examples.shapes import first_columns
from tunelab.data.reading.rows import Row
from tunelab.errors import DataError
from tunelab.study.verbs.own_data.columns import Guess, guess_columns
from tunelab.study.verbs.own_data.metric_choice import OF_LABELS, MetricChoice, choose_metrics
from tunelab.study.verbs.own_data.odd_columns import odd_columns

_OF_PLAIN_TEXT = ("perplexity", "bits_per_token")

_OF_A_TEXT, _OF_A_LABEL = 128, 32
"""Tokens of a generated text at most: an untrained base writes as many."""

_GENERIC_NAMES = ("", "train", "training", "data", "trainset", "train_data")


class Template(NamedTuple):
    text: str
    notes: tuple[str, ...]
    """What was guessed, and which columns look wrong; it stands in the text too."""


class Part(NamedTuple):
    """The file of a split."""

    path: Path
    rows: Sequence[Row]
    encoding: str | None = "utf-8"
    """None: no text file."""


def study_template(
    *,
    train: Part,
    test: Part,
    validation: Part | None = None,
    model: str,
    folder: Path,
    taken_names: Collection[str] = (),
) -> Template:
    """Text of a study that reads back with `read_study`.

    Args:
        folder: where the study will stand; files below it are named relative to it.
        taken_names: names of bundled tasks, which the task must not have.

    Raises:
        DataError: train has no column of text, or another file lacks a column that train was guessed by.
    """
    guess = guess_columns(train.rows, train.path)
    for part in (test, validation):
        if part is not None:
            check_columns(guess, part.rows, part.path)
    name = _task_name(train.path, taken_names)
    metrics = MetricChoice(_OF_PLAIN_TEXT) if guess.targets is None else choose_metrics(guess.targets)
    odd = odd_columns(train.rows, read=guess.columns, by_name=guess.by_name)
    encoding = next((part.encoding for part in (train, test, validation) if part and part.encoding), "utf-8")
    task_lines = [
        f"  - name: {name}",
        f"    train: {_quoted(_relative(train.path, folder))}",
        f"    test: {_quoted(_relative(test.path, folder))}",
        "    # validation: FILE                # without it, 10 % of train (at most 500 rows) is held out"
        if validation is None
        else f"    validation: {_quoted(_relative(validation.path, folder))}",
        f"    # Columns of train: {_comment(', '.join(train.rows[0]))}",
        *(f"    # {_comment(line)}" for line in odd),
        f"    # {_comment(guess.reason)}",
        *(f"    {key}: {_quoted(value)}" for key, value in _ways(guess).items() if value is not None),
        *([f"    encoding: {encoding}"] if encoding != "utf-8" else []),
        *(f"    # {_comment(reason)}" for reason in metrics.reasons),
        f"    metrics: [{', '.join(metrics.names)}]",
    ]
    methods = _METHODS_OF_SMALL if model.startswith("tunelab/") else _METHODS
    text = _TEXT.format(
        name=name,
        model=_quoted(_model(model, folder)),
        task="\n".join(task_lines),
        methods=methods,
        max_new_tokens=_OF_A_LABEL if metrics.names == OF_LABELS else _OF_A_TEXT,
    )
    return Template(text, (guess.reason, *metrics.reasons, *odd))


def _ways(guess: Guess) -> dict[str, str | None]:
    return {"prompt": guess.prompt, "target": guess.target, "text": guess.text, "messages": guess.messages}


def check_columns(guess: Guess, rows: Sequence[Row], path: Path) -> None:
    """Raises DataError: the rows lack a column that was guessed of others."""
    columns = first_columns(rows)
    for column in guess.columns:
        if column not in columns:
            raise DataError(
                f"{path}: has no column {column!r}, which train has; both need the same columns. "
                f"Columns: {', '.join(columns)}"
            )


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

# examples: per optimizer step. max_length: of a row. Also max_tokens: per micro-batch, bounds memory and changes no
# gradient; left out, what suits this machine.
batch: {{examples: 16, max_length: 512}}

# overlong: rows longer than max_length; also truncate, drop, error. packing: short plain texts share training rows.
data: {{overlong: truncate_prompt, packing: true}}

# every: share of an epoch between two passes over the validation rows. keep: best is the pass with the lowest loss.
validation: {{every: 0.25, keep: last}}

# How text is generated for scoring; beams: 1 is greedy.
generation: {{beams: 1, max_new_tokens: {max_new_tokens}}}
"""
