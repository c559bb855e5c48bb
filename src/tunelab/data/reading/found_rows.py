"""Rows of a file that nobody has described: its encoding, header line and separator are found out, and said."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tunelab.data.reading.row_formats import CsvRows, Row, format_of
from tunelab.data.reading.rows import check_is_file, read_rows
from tunelab.data.reading.text_file import TextFile, WrongEncoding, is_utf_16
from tunelab.errors import DataError

_SINGLE_BYTES = "cp1252"
"""What spreadsheets on Windows write in western Europe and America. Nearly every file can be read so."""
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_FIRST_RECORDS = 500
"""That a header line is compared with."""
_SENTENCE = 5
"""Words from which a value is a text and no name of a column."""
_NAMES = frozenset(
    "id index text label target prompt completion question answer instruction input output response context source "
    "summary article document title body content sentence review category class sentiment url date".split()
)
_VALUE = re.compile(r"\s*(https?://.*|\d{4}-\d\d-\d\d.*|[-+]?\d+([.,]\d+)*\s*%?)\s*", re.DOTALL)
"""An address, a date, a number."""
_SHOWN = 40


class Found(NamedTuple):
    path: Path
    rows: Sequence[Row]
    encoding: str | None
    """None: no text file."""
    described: bool
    """Whether `read_rows` with that encoding reads the same rows; else they must be written in another form."""
    notes: tuple[str, ...]


def find_rows(path: Path, *, encoding: str | None = None, header: bool | None = None) -> Found:
    """All rows of a file, as `read_rows` reads it, and what had to be found out for that.

    Args:
        encoding: None: UTF-8; a file that is not becomes UTF-16 by its mark, else cp1252.
        header: whether the first line of a .csv or .tsv names its columns; None: told by what stands in it.

    Raises:
        DataError: as `read_rows`; WrongEncoding where the encoding was given.
    """
    path = Path(path)
    check_is_file(path)
    kind = format_of(path)
    if kind == ".parquet":
        return Found(path, read_rows(path), None, True, ())
    notes = []
    if encoding is not None:
        _check_known(encoding)
    else:
        encoding = _encoding(path)
        if encoding != "utf-8":
            notes.append(f"{path.name}: not UTF-8, read as {encoding}{_first_odd_text(path, encoding)}")
    if kind not in (".csv", ".tsv"):
        return Found(path, read_rows(path, encoding=encoding), encoding, True, tuple(notes))
    delimiter = "\t" if kind == ".tsv" else ","
    records = _records(path, encoding, delimiter)
    sizes = {len(record) for record in records}
    other = _separator(path, encoding) if kind == ".csv" and (sizes == {1} or len(sizes) > 1) else None
    if other:
        notes.append(f"{path.name}: its values are separated by {_SEPARATORS[other]}")
        delimiter, records = other, _records(path, encoding, other)
    named = has_header(records) if header is None else header
    if not named and header is None:
        shown = _short(", ".join(records[0]))
        notes.append(f"{path.name}: the first line ({shown}) is a row, so the columns are column_1, column_2, ...")
    if named and other is None:
        rows: Sequence[Row] = read_rows(path, encoding=encoding)
        if header is None and any(_is_long(cell) for cell in records[0]):
            shown = _short(", ".join(records[0]))
            notes.append(f"{path.name}: the first line ({shown}) is read as the names of the columns")
        return Found(path, rows, encoding, True, tuple(notes))
    rows = CsvRows(TextFile(path, encoding), delimiter=delimiter, header=named)
    if not len(rows):
        raise DataError(f"{path}: has no rows")
    return Found(path, rows, encoding, False, tuple(notes))


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns. Told by what names are not: an address, a date, a number, a value
    that comes again below in a column of few values, or nothing but sentences."""
    first, rest = records[0], records[1:]
    folded = [cell.strip().casefold() for cell in first]
    if any(cell in _NAMES for cell in folded) or _counts(folded):
        return True
    if any(_VALUE.fullmatch(cell) for cell in first):
        return False
    for place, cell in enumerate(folded):
        below = Counter(record[place].strip().casefold() for record in rest if place < len(record))
        if cell and below[cell] and 2 * len(below) <= below.total():
            return False
    given = [cell for cell in first if cell.strip()]
    return not given or not all(_is_long(cell) for cell in given)


def _counts(cells: list[str]) -> bool:
    """0, 1, 2: the names that pandas gives, behind the empty one of its index."""
    numbers = cells[1:] if cells[0] == "" else cells
    return bool(numbers) and numbers == [str(number) for number in range(len(numbers))]


def _is_long(cell: str) -> bool:
    return len(cell.split()) >= _SENTENCE


def _check_known(encoding: str) -> None:
    try:
        "".encode(encoding)  # unlike codecs.lookup, this refuses base64 and other codecs that are not of text
    except LookupError:
        raise DataError(
            f"{encoding!r} is not an encoding Python knows; common ones are utf-8, cp1252, utf-16"
        ) from None


def _encoding(path: Path) -> str:
    try:
        TextFile(path, "utf-8")
        return "utf-8"
    except WrongEncoding as error:
        other = "utf-16" if is_utf_16(path) else _SINGLE_BYTES
        with suppress(WrongEncoding):
            TextFile(path, other)
            return other
        raise error from None


def _first_odd_text(path: Path, encoding: str) -> str:
    """The first text that is not ASCII, for a reader to judge the encoding by."""
    for line in TextFile(path, encoding).lines():
        if not line.text.isascii():
            place = next(at for at, character in enumerate(line.text) if not character.isascii())
            begin = max(0, place - _SHOWN // 2)
            return f" (line {line.number}: {' '.join(line.text[begin : place + _SHOWN // 2].split())!r})"
    return ""


def _records(path: Path, encoding: str, delimiter: str) -> list[list[str]]:
    """The first ones; what is wrong with the file is told when it is read."""
    texts = (line.text for line in TextFile(path, encoding).lines(newline=""))
    reader = csv.reader(texts, delimiter=delimiter)
    csv.field_size_limit(1 << 30)
    with suppress(csv.Error):
        return [record for record in islice(reader, _FIRST_RECORDS) if record] or [[""]]
    return [[""]]


def _separator(path: Path, encoding: str) -> str | None:
    """Another one than the comma that cuts every record into as many values, two at least."""
    for separator in _SEPARATORS:
        sizes = {len(record) for record in _records(path, encoding, separator)}
        if len(sizes) == 1 and sizes != {1} and len(_records(path, encoding, separator)) > 1:
            return separator
    return None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
