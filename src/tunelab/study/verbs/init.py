"""Writes a study for the user's own data; without a test file a tenth of the rows becomes one, twins together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.data.examples.splits import held_out
from tunelab.data.reading.rows import Row, read_rows
from tunelab.errors import ConfigError, DataError
from tunelab.files import write_atomically
from tunelab.study.verbs.listing import listing
from tunelab.study.verbs.template import study_template

TEST_SHARE = 0.1
MAX_TEST_ROWS = 500


class Written(NamedTuple):
    study: Path
    files: tuple[Path, ...]
    """Every file that was written, the study last."""


def write_study(*, train: Path, test: Path | None, model: str, out: Path, force: bool = False) -> Written:
    """Nothing is written when anything is wrong.

    Raises:
        ConfigError: a file that would be written is there. DataError: a data file cannot be read, or has too few rows.
    """
    split = _beside(train, out, "train"), _beside(train, out, "test")
    files = (*split, out) if test is None else (out,)
    taken = [str(path) for path in files if path.exists()]
    if taken and not force:
        raise ConfigError(f"{', '.join(taken)}: already there; --force overwrites, --out names another study file")
    if test is None:
        kept, held_out = _split(read_rows(train), train)
        train, test = split
        write_atomically(train, _jsonl(kept))
        write_atomically(test, _jsonl(held_out))
    text = study_template(train=train, test=test, model=model, folder=out.parent, taken_names=listing("tasks"))
    write_atomically(out, text)
    return Written(out, files)


def _beside(data: Path, study: Path, part: str) -> Path:
    return study.parent / f"{data.stem}.{part}.jsonl"


def _split(rows: Sequence[Row], source: Path) -> tuple[list[Row], list[Row]]:
    wanted = min(MAX_TEST_ROWS, int(len(rows) * TEST_SHARE))
    if wanted < 1:
        raise DataError(f"{source}: {len(rows)} rows are too few to hold a tenth out; give --test FILE")
    try:
        test = held_out(map(_as_text, rows), n=wanted, seed=0)
    except DataError as error:
        raise DataError(f"{source}: {error}; give --test FILE") from None
    return (
        [row for row, drawn in zip(rows, test, strict=True) if not drawn],
        [row for row, drawn in zip(rows, test, strict=True) if drawn],
    )


def _as_text(row: Row) -> str:
    """The columns in the order of their names, for telling which rows are twins."""
    return "\0".join(f"{column}\0{row[column]}" for column in sorted(row))


def _jsonl(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
