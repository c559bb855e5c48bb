r"""Outputs and references from files, as `tunelab score` takes them.

Outputs: one a line, an empty line is an empty output; `.jsonl`: a JSON string a line, for texts with line breaks.
References, told apart in this order:

- `.jsonl`: a list of strings a line (or one string).
- `.tsv`, `.csv` with a header that names a source and a reference column: the E2E script's table; neighbouring lines
  with equal sources are references of one example.
- a blank line somewhere between: groups of lines, a group an example (the E2E script's plain form).
- otherwise one line an example; tabs separate several references.

As in the E2E script (tuetschek/e2e-metrics 1b9c4d8, measure_scores.py lines 27-113 and 219-243) outer white space is
removed from every line, and references without any blank line are one a line: a single example cannot have its
references on several lines. Two blank lines in a row, with which the script crashes, are an example without references
and an error; blank lines at the end are none. A byte order mark is no text.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from tunelab.errors import DataError
from tunelab.files import no_file

LONGEST_LINE = 1_000_000
"""Bytes. Nothing that is scored by its words is longer; a binary file or one without line breaks is."""
SOURCE = re.compile(r"(mr|src|source|meaning(?:[_ .-]rep(?:resentation)?)?|da|dial(?:ogue)?[_ .-]act)s?", re.I)
REFERENCE = re.compile(r"(trg|tgt|target|ref(?:erence)?|human(?:[_ .-](?:ref(?:erence)?))?)s?", re.I)
TABLES = (".tsv", ".csv")


def read_outputs(file: Path) -> list[str]:
    """
    Raises:
        DataError: missing, empty, a table, not UTF-8, an endless line, or not JSON strings; with the line.
    """
    if file.suffix.lower() in TABLES:
        raise DataError(f"{file}: outputs are one a line, or .jsonl with a JSON string a line; a table is not read")
    lines = _lines(file)
    if not lines:
        raise DataError(f"{file}: is empty; outputs are one a line, and an empty line is an empty output")
    if file.suffix.lower() == ".jsonl":
        return _json_lines(file, lines, "a JSON string", lambda value: isinstance(value, str))
    return [line.strip() for line in lines]


def read_references(file: Path) -> list[list[str]]:
    """References of each example; at least one.

    Raises:
        DataError: as `read_outputs`, or an example without a reference.
    """
    lines = _lines(file)
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{file}: is empty; references are one a line, or groups of lines with a blank line between")
    if file.suffix.lower() == ".jsonl":
        found = _json_lines(file, lines, "a list of JSON strings", _is_references)
        return [[value] if isinstance(value, str) else value for value in found]
    table = _table(file, lines) if file.suffix.lower() in TABLES else None
    if table is not None:
        return table
    if file.suffix.lower() == ".csv":
        raise DataError(f"{file}: a .csv needs a header line that names a source (mr) and a reference (ref) column")
    lines = [line.strip() for line in lines]
    return _groups(file, lines) if "" in lines else [_tab_separated(line) for line in lines]


def _lines(file: Path) -> list[str]:
    try:
        if no_file(file) == "a device" and file != Path(os.devnull):
            raise DataError(f"{file}: is a device; give a text file")
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}; give a text file") from None
    for number, line in enumerate(data.split(b"\n"), start=1):
        if len(line) > LONGEST_LINE:
            raise DataError(
                f"{file}:{number}: a line of {len(line):,} bytes; at most {LONGEST_LINE:,}: "
                "texts are one a line, or .jsonl"
            )
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            wrong = line[error.start]
            raise DataError(
                f"{file}:{number}: byte {error.start + 1} of the line (0x{wrong:02x}) is not UTF-8; save it as UTF-8"
            ) from None
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _json_lines(file: Path, lines: list[str], wanted: str, accepted: Callable[[Any], bool]) -> list[Any]:
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{file}:{number}: not JSON; every line is {wanted}") from None
        if not accepted(value):
            raise DataError(f"{file}:{number}: got {json.dumps(value)[:60]}; every line is {wanted}, not empty")
        values.append(value)
    return values


def _is_references(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return bool(texts) and all(isinstance(text, str) for text in texts)


def _table(file: Path, lines: list[str]) -> list[list[str]] | None:
    """The script's table; None: no header."""
    lines = [line.strip() for line in lines if line.strip()]
    rows = list(csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ","))
    sources = [column for column, name in enumerate(rows[0]) if SOURCE.match(name)]
    texts = [column for column, name in enumerate(rows[0]) if REFERENCE.match(name)]
    if len(sources) != 1 or len(texts) != 1:
        return None
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(f"{file}: row {number} has {len(row)} columns, the header {len(rows[0])}; give it as many")
    pairs = [(row[sources[0]], row[texts[0]]) for row in rows[1:]]
    return [[text for _, text in group] for _, group in groupby(pairs, key=lambda pair: pair[0])]


def _groups(file: Path, lines: list[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for number, line in enumerate(lines, start=1):
        if line:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
        else:
            raise DataError(
                f"{file}:{number}: no reference for example {len(groups)}: a blank line where its references should "
                "be; one blank line separates two examples"
            )
    return groups


def _tab_separated(line: str) -> list[str]:
    return [text for text in map(str.strip, line.split("\t")) if text]
