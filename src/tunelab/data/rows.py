"""Rows of data files as dicts: .jsonl, .json, .csv, .tsv, .parquet, .txt. Every message names file and line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import stat
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunelab.errors import DataError

Row = dict[str, Any]


def read_rows(path: Path, *, encoding: str = "utf-8") -> list[Row]:
    """All rows of a file, in order; a row's keys are its columns.

    .jsonl: an object a line, blank lines skipped. .json: a list of objects. .csv, .tsv: a header line, then text
    values. .parquet: its columns. .txt: {"text": line} for every line that is not blank.

    Args:
        encoding: of the text formats. UTF-8 may begin with a byte order mark.

    Raises:
        DataError: missing, not that format, not that encoding, or without a row.
    """
    path = Path(path)
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv, ".txt": _txt}
    _check_is_file(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = _parquet(path)
    elif suffix in readers:
        rows = list(readers[suffix](path, _text(path, encoding)))
    else:
        raise DataError(f"{path}: unknown kind of file {suffix!r}; use {', '.join([*readers, '.parquet'])}")
    if not rows:
        raise DataError(f"{path}: has no rows")
    return rows


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes; computed once per process as long as its time and size stay.

    Raises:
        DataError: the file cannot be read.
    """
    try:
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


def _check_is_file(path: Path) -> None:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        rule = (
            "a path in a study is relative to the study's folder" if path.is_absolute() else "looked for it from here"
        )
        raise DataError(f"{path}: no such file; {rule}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the path and its permissions") from None
    if is_folder:
        raise DataError(f"{path}: is a folder; name one file in it")


def _text(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not data.strip():
        raise DataError(f"{path}: is empty")
    asked = encoding
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{path}: is UTF-16, not UTF-8; set 'encoding: utf-16' on this task, or save it as UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not {asked}; save the file as UTF-8, or set "
            "'encoding' on this task (spreadsheets on Windows often write cp1252)"
        ) from None
    except UnicodeError as error:
        raise DataError(f"{path}: is not {asked} ({error}); set 'encoding' on this task, or save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{line}: contains a NUL byte, so it is not plain {asked} text; save it as UTF-8")
    return text


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank. Not str.splitlines, which also cuts at U+2028 inside a JSON string."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _txt(path: Path, text: str) -> Iterator[Row]:
    for _, line in _lines(text):
        yield {"text": line}


def _jsonl(path: Path, text: str) -> Iterator[Row]:
    for number, line in _lines(text):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            hint = "; a file that is one JSON list must end in .json" if line.lstrip()[0] == "[" else ""
            raise DataError(f"{path}:{number}: not valid JSON ({error.msg}, column {error.colno}){hint}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: each line must be an object {{column: value}}; got {_kind(row)}")
        yield row


def _json(path: Path, text: str) -> Iterator[Row]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "; a file with one object a line must end in .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}:{error.lineno}: not valid JSON ({error.msg}, column {error.colno}){hint}") from None
    if not isinstance(value, list):
        hint = f" with the keys {', '.join(list(value)[:8])}" if isinstance(value, dict) else ""
        raise DataError(f"{path}: must be a list of objects [{{column: value}}, ...]; got {_kind(value)}{hint}")
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: entry {number} must be an object {{column: value}}; got {_kind(row)}")
        yield row


def _csv(path: Path, text: str) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)  # The default, 128 KiB, is less than one long document.
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
        repeated = [name for name, count in Counter(header).items() if count > 1]
        if repeated:
            raise DataError(f"{path}:1: the column {repeated[0]!r} is named twice; rename one")
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{path}:{reader.line_num}: {len(values)} values for {len(header)} columns "
                    f"({', '.join(header)}); put values with {delimiter!r} or line breaks in double quotes"
                )
            yield dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV ({error}); is a double quote left open?") from None


def _parquet(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
