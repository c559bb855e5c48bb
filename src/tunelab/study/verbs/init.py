"""Writes a study for the user's own data; without a test file a tenth of the rows becomes one, twins together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from tunelab.data.examples.splits import held_out
from tunelab.data.reading.found_rows import Found, find_rows
from tunelab.data.reading.rows import Row
from tunelab.errors import ConfigError, DataError
from tunelab.files import write_atomically
from tunelab.study.verbs.listing import listing
from tunelab.study.verbs.own_data.columns import guess_columns
from tunelab.study.verbs.own_data.template import Part, check_columns, study_template

TEST_SHARE = 0.1
MAX_TEST_ROWS = 500
ENCODING = "if that is wrong, give --encoding"
HEADER = "if that is wrong, give --header or --no-header"


class Written(NamedTuple):
    study: Path
    files: tuple[Path, ...]
    """Every file that was written, the study last."""
    notes: tuple[str, ...]
    """What was guessed, and what looks wrong."""


class _Split(NamedTuple):
    """A split before anything is written."""

    part: Part
    is_new: bool
    """Whether its file has still to be written."""


def write_study(
    *,
    train: Path | Sequence[Path],
    test: Path | Sequence[Path] | None = None,
    validation: Path | Sequence[Path] | None = None,
    model: str,
    out: Path,
    encoding: str | None = None,
    header: bool | None = None,
    force: bool = False,
    ask: Callable[[str], bool] | None = None,
) -> Written:
    """Nothing is written when anything is wrong.

    Args:
        train, test, validation: a file or several; a name may be a pattern, as in 'data/*.jsonl'. Several become one
            jsonl file beside the study, and so does one that a study cannot read as it is.
        encoding, header: as `find_rows`.
        ask: whether files that are there may be replaced; None: they may not, unless `force`.

    Raises:
        ConfigError: a file that would be written is there. DataError: a data file cannot be read, or has too few rows.
    """
    names = {"train": train, "test": test, "validation": validation}
    paths = {split: _paths(given, split) for split, given in names.items() if given}
    _check_once(paths)
    found = {
        split: [find_rows(path, encoding=encoding, header=header) for path in some] for split, some in paths.items()
    }
    splits = _splits(found, out)
    notes = [_with_way_out(note) for parts in found.values() for one in parts for note in one.notes]
    notes += [f"{split.part.path.name}: {len(split.part.rows)} rows" for split in splits.values() if split.is_new]
    template = study_template(
        train=splits["train"].part,
        test=splits["test"].part,
        validation=splits["validation"].part if "validation" in splits else None,
        model=model,
        folder=out.parent,
        taken_names=listing("tasks"),
    )
    new = [split.part for split in splits.values() if split.is_new]
    files = (*(part.path for part in new), out)
    _check_free(files, [path for some in paths.values() for path in some], force=force, ask=ask)
    for part in new:
        write_atomically(part.path, _jsonl(part.rows))
    write_atomically(out, template.text)
    return Written(out, files, (*notes, *template.notes))


def _paths(given: Path | Sequence[Path], split: str) -> list[Path]:
    """With every pattern in its files' place, in the order of their names."""
    paths = []
    for one in [given] if isinstance(given, Path | str) else given:
        text = os.path.expanduser(one)
        if os.path.exists(text) or not has_magic(text):
            paths.append(Path(text))
        elif matches := sorted(path for path in glob(text, recursive=True) if os.path.isfile(path)):
            paths += map(Path, matches)
        else:
            raise DataError(f"--{split} {one}: no file has such a name; the pattern is looked for from here")
    return paths


def _check_once(paths: dict[str, list[Path]]) -> None:
    """A file in two splits would be scored on what was learned."""
    seen: dict[Path, str] = {}
    for split, some in paths.items():
        for path in some:
            before = seen.setdefault(path.resolve(), split)
            if before != split:
                raise ConfigError(f"{path}: is given for {before} and for {split}; what is learned must not be scored")
            if sum(other.resolve() == path.resolve() for other in some) > 1:
                raise ConfigError(f"--{split} {path}: stands there twice; give it once")


def _splits(found: dict[str, list[Found]], out: Path) -> dict[str, _Split]:
    """Files that a study reads as they are, and rows of which one must be written."""
    train = found["train"]
    stem = _stem([one.path for one in train])
    guess = guess_columns(train[0].rows, train[0].path)
    for one in (one for parts in found.values() for one in parts):
        check_columns(guess, one.rows, one.path)
    if "test" in found:
        rows = {split: _joined(parts) for split, parts in found.items()}
    else:
        kept, test = _split(_joined(train), train[0].path)
        rows = {"train": kept, "test": test, **{name: _joined(found[name]) for name in found if name != "train"}}
    as_it_is = {
        name: parts[0]
        for name, parts in found.items()
        if len(parts) == 1 and parts[0].described and not (name == "train" and "test" not in found)
    }
    encodings = {one.encoding for one in as_it_is.values()} - {None}
    if len(encodings) + (len(as_it_is) < len(rows)) > 1:  # a study says one encoding, and what is written is UTF-8
        as_it_is = {name: one for name, one in as_it_is.items() if one.encoding in (None, "utf-8")}
    return {
        name: _Split(Part(as_it_is[name].path, rows[name], as_it_is[name].encoding), False)
        if name in as_it_is
        else _Split(Part(_beside(stem, out, name), rows[name]), True)
        for name in rows
    }


def _joined(parts: list[Found]) -> Sequence[Row]:
    return parts[0].rows if len(parts) == 1 else [row for one in parts for row in one.rows]


def _stem(paths: list[Path]) -> str:
    """What the names of the files have in common, or that of their folder."""
    names = [path.name.removesuffix(".gz").rpartition(".")[0] or path.name for path in paths]
    if len(names) == 1:
        return names[0]
    letters = takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))
    common = re.sub(r"[\W_]+\d*$|\d+$", "", "".join(column[0] for column in letters)).strip("-._ ")
    return common or paths[0].resolve().parent.name or names[0]


def _beside(stem: str, study: Path, part: str) -> Path:
    return study.parent / f"{stem}.{part}.jsonl"


def _check_free(
    files: Sequence[Path], sources: Sequence[Path], *, force: bool, ask: Callable[[str], bool] | None
) -> None:
    read = {path.resolve() for path in sources}
    for path in files:
        if path.resolve() in read:
            raise ConfigError(f"{path}: is read, and would be written too; --out names another place for the study")
    taken = ", ".join(str(path) for path in files if path.exists())
    if taken and not force and not (ask is not None and ask(taken)):
        elsewhere = "--out names another study file"
        if any(path.exists() for path in files[:-1]):
            elsewhere = f"--out FOLDER/{files[-1].name} writes them into another folder"
        raise ConfigError(f"{taken}: already there; --force overwrites, {elsewhere}")


def _with_way_out(note: str) -> str:
    if "not UTF-8" in note:
        return f"{note}; {ENCODING}"
    return f"{note}; {HEADER}" if "the first line" in note else note


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


def _jsonl(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
