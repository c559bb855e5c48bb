"""Rows that were written are the rows that are read, in every format; and whatever bytes a file has, it is rows or one
line that names it."""

import csv
import io
import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from properties import JSON, SAME_EVERY_TIME
from tunelab.data.reading.found_rows import find_rows
from tunelab.data.reading.rows import read_rows
from tunelab.errors import DataError

NUMBERS = itertools.count()
"""Files that were read once are known by their times and sizes."""
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ROWS = st.lists(st.dictionaries(st.text(max_size=6), JSON, max_size=4), min_size=1, max_size=5)


@st.composite
def tables(draw):
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    return names, draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=5))


def written(folder, suffix: str, content: bytes):
    path = folder / f"rows-{next(NUMBERS)}{suffix}"
    path.write_bytes(content)
    return path


@SAME_EVERY_TIME
@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_json_lines_are_read_as_written(tmp_path, rows, ascii_only, end):
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows)
    try:
        content = text.encode()
    except UnicodeEncodeError:
        return
    assert list(read_rows(written(tmp_path, ".jsonl", content))) == rows
    whole = json.dumps(rows, ensure_ascii=ascii_only).encode()
    assert list(read_rows(written(tmp_path, ".json", whole))) == rows


@SAME_EVERY_TIME
@given(tables(), st.sampled_from([(".csv", ","), (".tsv", "\t")]), st.booleans(), st.booleans())
def test_tables_are_read_as_written(tmp_path, table, form, quoted, mark):
    (names, values), (suffix, delimiter) = table, form
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([names, *values])
    path = written(tmp_path, suffix, text.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    assert list(read_rows(path)) == [dict(zip(names, row, strict=True)) for row in values]


@SAME_EVERY_TIME
@given(st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".jsonl.gz"]), st.binary(max_size=120))
@example(".jsonl", b'{"a": 1}\n{"a": \xff}\n')
@example(".csv", b'a,b\n"1,2\n')
@example(".csv", b"\0,\0\n\0,\0\n")
@example(".csv", b"\xff\xfea\0,\0b\0\n\0")
@example(".tsv", b"\r\r\r")
@example(".json", b"[" * 3000)
@example(".json", b'[{"a": 1e999999}]')
@example(".parquet", b"PAR1" * 9)
@example(".jsonl.gz", b"\x1f\x8b" + b"\0" * 30)
@pytest.mark.parametrize("read", [read_rows, lambda path: find_rows(path).rows], ids=["read", "found"])
def test_any_bytes_are_rows_or_one_line_that_names_the_file(tmp_path, read, suffix, content):
    path = written(tmp_path, suffix, content)
    try:
        rows = list(read(path))
    except DataError as error:
        assert path.name in str(error)
        assert len(str(error).splitlines()) == 1, str(error)
    else:
        assert rows and all(isinstance(row, dict) for row in rows)
