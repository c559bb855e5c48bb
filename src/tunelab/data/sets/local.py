"""A named data set from files on this machine: the original ones, or files with the hub's columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tunelab.data.reading.arrow_rows import cache_folder, read_arrow, write_rows
from tunelab.data.reading.rows import Row, sha256
from tunelab.data.sets import original_files as source_files
from tunelab.data.sets.original_files import Reader, table
from tunelab.data.sets.source import Source
from tunelab.errors import DataError

IN_MEMORY_BYTES = 64 << 20
"""Rows of larger files are kept on the disk."""
EXTENSIONS = ("jsonl", "json", "csv", "tsv", "parquet")


class Found(NamedTuple):
    paths: list[Path]
    read: Reader


def read_files(source: Source, path: Path, split: str, *, keep: Callable[[Row], bool] | None = None) -> Sequence[Row]:
    """The rows of a split for which `keep` holds, in the files' order. Rows of large files are kept in an Arrow file
    beside the data sets of `datasets`, and found there as long as the files' times and sizes stay.

    Raises:
        DataError: missing files, other columns than the hub's, no rows.
    """
    rows = (row for row in _rows(source, path, split) if keep is None or keep(row))
    files = [(str(file.absolute()), *_status(file)) for file in find_files(source, path, split)]
    if sum(size for _, _, size in files) < IN_MEMORY_BYTES:
        found: Sequence[Row] = list(rows)
    else:
        key = json.dumps([source.name, split, files, sha256(Path(source_files.__file__))])
        file = cache_folder() / "files" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.arrow"
        found = read_arrow(file) if file.is_file() or write_rows(file, rows) else []
    if not found:
        raise DataError(f"{path}: has no rows of {source.name}'s {split} split")
    return found


def _status(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


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
    here = "is not the" if path.is_file() else "has no"
    stem = "train" if source.drawn else split
    raise DataError(
        f"{path}: {here} {split} split of {source.name}; it must be {' or '.join(source.files[split])}, or "
        f"{stem}.jsonl, .json, .csv, .tsv, .parquet with the columns {', '.join(source.columns)}"
    )


def _patterns(source: Source, split: str) -> Iterator[str]:
    """Names in a folder, best first: original, hub's columns, the shards of a cloned hub repository."""
    yield from source.files[split]
    stem = "train" if source.drawn else split
    yield from (f"{stem}.{extension}" for extension in EXTENSIONS)
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
