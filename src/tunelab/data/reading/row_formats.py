"""csv, tsv, jsonl, json, parquet, txt: a sequence each, which makes a row when it is asked for."""

from __future__ import annotations

import csv
import io
import json
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from tunelab.data.reading.lazy import Lazy
from tunelab.data.reading.parsed_rows import ParsedRows
from tunelab.data.reading.text_file import Line, TextFile
from tunelab.data.reading.values import Numbers, parse_json
from tunelab.errors import DataError

Row = dict[str, Any]

PARQUET_BLOCK = 1024
"""Rows of a parquet file that are made at once."""


def format_of(path: Path) -> str:
    """The suffix that says the format, in lower case: '.jsonl' of 'a.jsonl' and of 'a.jsonl.gz'."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


class JsonLines(Lazy[Row]):
    """An object a line."""

    def __init__(self, file: TextFile) -> None:
        self._file, self._spans, self._parsed = file, _Spans(), ParsedRows()
        for line in _not_blank(file):
            try:
                row = parse_json(line.text)
            except json.JSONDecodeError as error:
                hint = "; a file that is one JSON list must end in .json" if line.text.lstrip()[0] == "[" else ""
                raise DataError(
                    f"{file.path}:{line.number}: not valid JSON ({error.msg}, column {error.colno}){hint}"
                ) from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{file.path}:{line.number}: each line must be an object {{column: value}}; got {_kind(row)}"
                )
            self._spans.add(line)
            self._parsed.append(row)
        self._num_rows, self._is_parsed = len(self._spans), self._parsed.finish()
        if self._is_parsed:
            self._spans = _Spans()

    def __len__(self) -> int:
        return self._num_rows

    def _at(self, position: int) -> Row:
        if self._is_parsed:
            return self._parsed[position]
        return parse_json(self._file.span(*self._spans[position]))


class TextLines(Lazy[Row]):
    """{"text": line} for every line that is not blank."""

    def __init__(self, file: TextFile) -> None:
        self._file, self._spans = file, _Spans()
        for line in _not_blank(file):
            self._spans.add(line)

    def __len__(self) -> int:
        return len(self._spans)

    def _at(self, position: int) -> Row:
        return {"text": self._file.span(*self._spans[position])}


class CsvRows(Lazy[Row]):
    """A header line, then text values; a value in double quotes may hold line breaks.

    Args:
        delimiter: between values; None: a tab in .tsv, else a comma.
        header: without one the first line is a row, and the columns are column_1, column_2, ...
    """

    def __init__(self, file: TextFile, *, delimiter: str | None = None, header: bool = True) -> None:
        csv.field_size_limit(1 << 30)  # The default, 128 KiB, is less than one long document.
        self._file, self._spans, self._parsed = file, _Spans(), ParsedRows()
        self._delimiter = delimiter or ("\t" if format_of(file.path) == ".tsv" else ",")
        lines = _Followed(file.lines(newline=""))
        reader = self._reader(lines)
        try:
            first = next(reader)
            self.header = _header(first, file.path) if header else [f"column_{n}" for n in range(1, len(first) + 1)]
            if not header:
                self._add(first, lines.start, lines.end)
            start = lines.end
            for values in reader:
                if values:
                    self._check(values, reader.line_num)
                    self._add(values, start, lines.end)
                start = lines.end
        except csv.Error as error:
            raise DataError(
                f"{file.path}:{reader.line_num}: not valid CSV ({error}); is a double quote left open?"
            ) from None
        self._num_rows, self._is_parsed = len(self._spans), self._parsed.finish()
        if self._is_parsed:
            self._spans = _Spans()

    def __len__(self) -> int:
        return self._num_rows

    def _at(self, position: int) -> Row:
        if self._is_parsed:
            values = self._parsed[position]
        else:
            text = self._file.span(*self._spans[position])
            values = next(self._reader(io.StringIO(text, newline="")))
        return dict(zip(self.header, values, strict=True))

    def _add(self, values: list[str], start: int, end: int) -> None:
        self._spans.append(start, end)
        self._parsed.append(values)

    def _reader(self, lines: Any) -> Any:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _check(self, values: list[str], line: int) -> None:
        if len(values) != len(self.header):
            raise DataError(
                f"{self._file.path}:{line}: {len(values)} values for {len(self.header)} columns "
                f"({', '.join(self.header)}); put values with {self._delimiter!r} or line breaks in double quotes"
            )


class ParquetRows(Lazy[Row]):
    """Its columns. One row group is held at a time, and of it a block as Python values."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self._path = path
        with _readable_parquet(path):
            self._file = pyarrow.parquet.ParquetFile(path)
        metadata = self._file.metadata
        groups = (metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        self._starts = [0, *accumulate(groups)]
        self._numbers = Numbers(self._file.schema_arrow)
        with _readable_parquet(path):
            for number in range(metadata.num_row_groups if self._numbers.wide else 0):
                self._numbers.see(self._file.read_row_group(number, columns=self._numbers.wide))
        self._group = -1
        self._table: pyarrow.Table
        self._block_start, self._block = 0, []

    def __len__(self) -> int:
        return self._starts[-1]

    def _at(self, position: int) -> Row:
        if not 0 <= position - self._block_start < len(self._block):
            group = bisect_right(self._starts, position) - 1
            if group != self._group:
                with _readable_parquet(self._path):
                    self._table = self._file.read_row_group(group)
                self._group = group
            offset = (position - self._starts[group]) // PARQUET_BLOCK * PARQUET_BLOCK
            self._block_start = self._starts[group] + offset
            self._block = self._numbers.written(self._table.slice(offset, PARQUET_BLOCK).to_pylist())
        return self._block[position - self._block_start]


def json_rows(file: TextFile) -> list[Row]:
    """A list of objects: the one format that cannot be read in pieces."""
    path = file.path
    try:
        value = parse_json(file.read())
    except json.JSONDecodeError as error:
        hint = "; a file with one object a line must end in .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}:{error.lineno}: not valid JSON ({error.msg}, column {error.colno}){hint}") from None
    if not isinstance(value, list):
        hint = f" with the keys {', '.join(list(value)[:8])}" if isinstance(value, dict) else ""
        raise DataError(f"{path}: must be a list of objects [{{column: value}}, ...]; got {_kind(value)}{hint}")
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: entry {number} must be an object {{column: value}}; got {_kind(row)}")
    return value


class _Spans:
    """Where rows begin and end, in bytes."""

    def __init__(self) -> None:
        self._starts, self._ends = array("q"), array("q")

    def append(self, start: int, end: int) -> None:
        self._starts.append(start)
        self._ends.append(end)

    def add(self, line: Line) -> None:
        self.append(line.start, line.end)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, position: int) -> tuple[int, int]:
        return self._starts[position], self._ends[position]


class _Followed:
    """The texts of lines, for a reader that takes several of them for one row."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines, self.start, self.end = lines, -1, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.start = line.start if self.start < 0 else self.start
            self.end = line.end
            yield line.text


def _not_blank(file: TextFile) -> Iterator[Line]:
    """Lines without their ends."""
    for line in file.lines():
        text = line.text.removesuffix("\n").removesuffix("\r")
        if text.strip():
            yield line._replace(text=text, end=line.end - (len(line.text) - len(text)))


def _header(names: list[str], path: Path) -> list[str]:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{path}:1: the column {repeated[0]!r} is named twice; rename one")
    return names


@contextmanager
def _readable_parquet(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
