"""A named data set from files on this machine: the original ones, or files with the hub's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tunelab.data.rows import Row
from tunelab.data.source import Source
from tunelab.data.source_files import Reader, table
from tunelab.errors import DataError

EXTENSIONS = ("jsonl", "json", "csv", "tsv", "parquet")


class Found(NamedTuple):
    paths: list[Path]
    read: Reader


def read_files(source: Source, path: Path, split: str, *, keep: Callable[[Row], bool] | None = None) -> Sequence[Row]:
    """The rows of a split for which `keep` holds, in the files' order.

    Raises:
        DataError: missing files, other columns than the hub's, no rows.
    """
    rows = [row for row in _rows(source, path, split) if keep is None or keep(row)]
    if not rows:
        raise DataError(f"{path}: has no rows of {source.name}'s {split} split")
    return rows


def find_files(source: Source, path: Path, split: str) -> list[Path]:
    """Every file that the rows of a split come from."""
    found = []
    for place in _find(source, path, split).paths:
        found += sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return found


def _find(source: Source, path: Path, split: str) -> Found:
    """The first of the accepted names that is there."""
    for number, pattern in enumerate(_patterns(source, split)):
        read = source.read if number < len(source.files[split]) else table
        if path.is_file():
            if fnmatch(path.name, Path(pattern).name):
                return Found([path], read)
        elif paths := sorted(path.glob(pattern)):
            return Found(paths, read)
    if path.is_file() and source.drawn:
        return Found([path], source.read)
    if not path.exists():
        raise DataError(f"{path}: no such folder; {source.way_out(split)}")
    raise DataError(
        f"{path}: {'is not' if path.is_file() else 'has no'} {split} split of {source.name}; it must be "
        f"{' or '.join(source.files[split])}, or {split}.jsonl, .json, .csv, .tsv, .parquet with the columns "
        f"{', '.join(source.columns)}"
    )


def _patterns(source: Source, split: str) -> Iterator[str]:
    """Names in a folder, best first: original, hub's columns, the shards of a cloned hub repository."""
    yield from source.files[split]
    yield from (f"{split}.{extension}" for extension in EXTENSIONS)
    shards = f"{source.splits[split]}-*.parquet"
    yield from (shards, f"data/{shards}", f"{source.config}/{shards}")


def _rows(source: Source, path: Path, split: str) -> Iterator[Row]:
    """Each with exactly the hub's columns."""
    found = _find(source, path, split)
    for file in found.paths:
        for number, row in enumerate(found.read(file, split), 1):
            missing = [column for column in source.columns if column not in row]
            if missing:
                raise DataError(
                    f"{file}: row {number} has no column {missing[0]!r}; {source.name} has "
                    f"{', '.join(source.columns)}, this row has {', '.join(row)}"
                )
            yield {column: _value(row[column], kind) for column, kind in source.columns.items()}


def _value(value: object, kind: str) -> object:
    """A csv knows text alone."""
    return int(value) if kind == "number" and isinstance(value, str) and value.lstrip("-").isdigit() else value
