"""Rows of data files as dicts: .jsonl, .json, .csv, .tsv, .parquet, .txt. Every message names file and line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tunelab.data.reading.row_formats import CsvRows, JsonLines, ParquetRows, Row, TextLines, format_of, json_rows
from tunelab.data.reading.text_file import TextFile
from tunelab.errors import DataError
from tunelab.files import no_file


def read_rows(path: Path, *, encoding: str = "utf-8") -> Sequence[Row]:
    """All rows of a file, in order; a row's keys are its columns.

    .jsonl: an object a line, blank lines skipped. .json: a list of objects. .csv, .tsv: a header line, then text
    values. .txt: {"text": line} for every line that is not blank. Each of these also with .gz behind it. .parquet:
    its columns.

    A text file is checked and parsed once per process, here, as long as its time and size stay; the rows then lie in a
    temporary file and take 8 bytes of memory each. Where that file does not fit into TMPDIR, a row is parsed each time
    it is asked for. Only .json, which cannot be read in pieces, is kept in memory, and of a .parquet file the row group
    that was asked for last.

    Args:
        encoding: of the text formats. UTF-8 may begin with a byte order mark.

    Raises:
        DataError: missing, not that format, not that encoding, or without a row.
    """
    path = Path(path)
    check_is_file(path)
    suffix = format_of(path)
    if suffix in _IN_PIECES:
        status = path.stat()
        rows = _checked_rows(path, encoding, str(path.absolute()), status.st_mtime_ns, status.st_size)
    elif suffix == ".json":
        rows = json_rows(TextFile(path, encoding))
    elif suffix == ".parquet" and path.suffix.lower() == suffix:
        rows = ParquetRows(path)
    else:
        known = ", ".join([".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet"])
        raise DataError(f"{path}: unknown kind of file {path.suffix.lower()!r}; use {known}")
    if not len(rows):
        raise DataError(f"{path}: has no rows")
    return rows


_IN_PIECES = {".jsonl": JsonLines, ".csv": CsvRows, ".tsv": CsvRows, ".txt": TextLines}


@lru_cache(maxsize=16)
def _checked_rows(path: Path, encoding: str, absolute: str, mtime_ns: int, size: int) -> Sequence[Row]:
    """Only what takes little memory is remembered: not the other formats, which hold rows."""
    return _IN_PIECES[format_of(path)](TextFile(path, encoding))


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes; computed once per process as long as its time and size stay.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if kind := no_file(Path(path)):
            raise DataError(f"{path}: is {kind}; name a file")
        status = Path(path).stat()
        return _sha256(str(Path(path).absolute()), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None


@lru_cache(maxsize=1024)
def _sha256(path: str, mtime_ns: int, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_is_file(path: Path) -> None:
    """Raises DataError where there is none."""
    try:
        kind = no_file(path)
    except (FileNotFoundError, NotADirectoryError):
        rule = (
            "a path in a study is relative to the study's folder" if path.is_absolute() else "looked for it from here"
        )
        raise DataError(f"{path}: no such file; {rule}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the path and its permissions") from None
    if kind is not None:
        raise DataError(f"{path}: is {kind}; name {'one file in it' if kind == 'a folder' else 'a file'}")
