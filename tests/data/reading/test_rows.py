"""Rows of files: what is accepted, and the one line that says what is wrong and where."""

import csv
import gzip
import io
import json
import os
import random

import pytest

from tunelab.data.reading import parsed_rows, row_formats
from tunelab.data.reading.rows import read_rows, sha256
from tunelab.errors import DataError

ROWS = [{"question": "1+1?", "answer": "2"}, {"question": 'say "é",\nplease', "answer": "é"}]


def problem(path, **options) -> str:
    with pytest.raises(DataError) as error:
        read_rows(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def write(path, content: str | bytes):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_format_gives_the_same_rows(tmp_path, mark):
    quoted = '"say ""é"",\nplease"'
    contents = {
        "a.jsonl": "\n".join(json.dumps(row) for row in ROWS) + "\n\n",
        "a.json": json.dumps(ROWS, ensure_ascii=False),
        "a.csv": f"question,answer\r\n1+1?,2\r\n{quoted},é\r\n",
        "a.TSV": f"question\tanswer\n1+1?\t2\n{quoted}\té\n",
    }
    for name, content in contents.items():
        assert read_rows(write(tmp_path / name, mark + content.encode())) == ROWS, name


def test_parquet_rows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == ROWS


def test_text_file_gives_a_row_for_every_line_that_is_not_blank(tmp_path):
    assert read_rows(write(tmp_path / "a.txt", " one\r\n\n  \ntwo\n")) == [{"text": " one"}, {"text": "two"}]


def test_line_separators_inside_json_strings_do_not_end_the_line(tmp_path):
    assert read_rows(write(tmp_path / "a.jsonl", '{"a": "x\u2028y\x85z"}\n')) == [{"a": "x\u2028y\x85z"}]


def test_another_encoding_is_an_option(tmp_path):
    file = write(tmp_path / "a.csv", "a\ncaf\xe9\n".encode("cp1252"))
    assert read_rows(file, encoding="cp1252") == [{"a": "café"}]
    file = write(tmp_path / "b.csv", "a\ncafé\n".encode("utf-16"))
    assert read_rows(file, encoding="utf-16") == [{"a": "café"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            b"a\n\ncaf\xe9\n",
            ":3: byte 0xe9 is not utf-8; save the file as UTF-8, or set 'encoding' on this task",
        ),
        ("a.csv", "a\nb\n".encode("utf-16"), ": is UTF-16, not UTF-8; set 'encoding: utf-16' on this task"),
        ("a.csv", b"a\nb\0c\n", ":2: contains a NUL byte, so it is not plain utf-8 text"),
        ("a.csv", "", ": is empty"),
        ("a.csv", " \n\n", ": is empty"),
        ("a.csv", "a,b\n", ": has no rows"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", ":3: 3 values for 2 columns (a, b); put values with ',' or line breaks"),
        ("a.csv", "a,b\n1\n", ":2: 1 values for 2 columns (a, b)"),
        ("a.csv", 'a,b\n1,"2\n3,4\n', ":3: not valid CSV (unexpected end of data); is a double quote left open?"),
        ("a.csv", "a,b,a\n1,2,3\n", ":1: the column 'a' is named twice; rename one"),
        ("a.jsonl", '{"a": 1}\n' * 16 + "{'a': 1}\n", ":17: not valid JSON (Expecting property name"),
        (
            "a.jsonl",
            '[{"a": 1}\n]',
            ":1: not valid JSON (Expecting ',' delimiter, column 10); a file that is one JSON list",
        ),
        ("a.jsonl", '{"a": 1}\n\n[1]\n', ":3: each line must be an object {column: value}; got a list"),
        ("a.jsonl", "1\n", ":1: each line must be an object {column: value}; got a number"),
        ("a.json", '{"a": 1}\n{"a": 2}\n', ":2: not valid JSON (Extra data, column 1); a file with one object a line"),
        (
            "a.json",
            '{"data": []}',
            ": must be a list of objects [{column: value}, ...]; got an object with the keys data",
        ),
        ("a.json", '[{"a": 1}, "b"]', ": entry 2 must be an object {column: value}; got text"),
        ("a.json", "[]", ": has no rows"),
        ("a.parquet", "no parquet", ": not a readable parquet file ("),
        ("a.xlsx", "x", ": unknown kind of file '.xlsx'; use .jsonl, .json, .csv, .tsv, .txt, .parquet"),
        ("a", "x", ": unknown kind of file ''; use "),
    ],
)
def test_bad_files_are_named_with_line_and_way_out(tmp_path, name, content, message):
    file = write(tmp_path / name, content)
    assert problem(file).startswith(f"{file}{message}")


def test_missing_file_and_folder(tmp_path):
    assert problem(tmp_path / "x.csv").startswith(
        f"{tmp_path / 'x.csv'}: no such file; a path in a study is relative to"
    )
    assert problem(tmp_path) == f"{tmp_path}: is a folder; name one file in it"


def test_sha256_follows_the_content(tmp_path):
    file = write(tmp_path / "a", "abc")
    assert sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    write(file, "abd")
    os.utime(file, ns=(1, 1))
    assert sha256(file).startswith("a52d159f262b2c6d")
    with pytest.raises(DataError, match=r"none: cannot be read \(No such file"):
        sha256(tmp_path / "none")


def test_real_files_are_read(shared):
    assert len(read_rows(shared / "data/e2e_nlg/devset.csv")) == 4672
    assert set(read_rows(shared / "data/alpaca/alpaca_5000.json")[0]) == {"instruction", "input", "output"}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".txt", ".parquet"])
def test_rows_can_be_asked_for_in_any_order(tmp_path, suffix):
    import pyarrow
    import pyarrow.parquet

    made = random.Random(0)
    texts = [" ".join(made.choices(["é", "two", '"', "\U0001f600"], k=made.randrange(1, 300))) for _ in range(3000)]
    rows = [{"text": text} for text in texts]
    file = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, row_group_size=1100)
    elif suffix in (".csv", ".tsv"):
        with file.open("w", newline="", encoding="utf-8") as open_file:
            writer = csv.DictWriter(open_file, ["text"], delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    else:
        write(
            file, "\n".join(json.dumps(row, ensure_ascii=False) if suffix == ".jsonl" else row["text"] for row in rows)
        )
    read = read_rows(file)
    assert list(read) == rows
    for place in made.sample(range(3000), 300):
        assert read[place] == rows[place]
    assert read[-1] == rows[-1] and read[10:12] == rows[10:12]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_row_is_parsed_once_however_often_it_is_asked_for(tmp_path, suffix, monkeypatch):
    parsed = []
    real_json, real_reader = row_formats.parse_json, csv.reader

    class Followed:
        """csv.reader's own, counted."""

        def __init__(self, lines, **options):
            self._real = real_reader(lines, **options)

        line_num = property(lambda self: self._real.line_num)

        def __iter__(self):
            return self

        def __next__(self):
            parsed.append("row")
            return next(self._real)

    monkeypatch.setattr(row_formats, "parse_json", lambda text: parsed.append(text) or real_json(text))
    monkeypatch.setattr(row_formats.csv, "reader", Followed)
    lines = (
        [json.dumps({"a": str(number)}) for number in range(50)] if suffix == ".jsonl" else ["a", *map(str, range(50))]
    )
    read = read_rows(write(tmp_path / f"a{suffix}", "\n".join(lines)))
    count = len(parsed)
    assert count == (50 if suffix == ".jsonl" else 52)  # the header, and the end
    assert list(read) == list(read) == [{"a": str(number)} for number in range(50)]
    assert read[-1] == {"a": "49"} and len(parsed) == count


class FullDisk(io.BytesIO):
    """A temporary file on a disk with room for `left` bytes."""

    left = 0

    def fileno(self) -> int:
        raise AssertionError("a file that did not fit is read")

    def write(self, content) -> int:
        if self.tell() + len(content) > self.left:
            raise OSError(28, "No space left on device")
        return super().write(content)


@pytest.mark.parametrize("left", [None, 0, 1000])
def test_rows_that_fit_into_no_temporary_file_are_parsed_when_asked_for(tmp_path, left, monkeypatch):
    def opened(**options):
        if left is None:
            raise FileNotFoundError("no usable temporary directory")
        file = FullDisk()
        file.left = left
        return file

    monkeypatch.setattr(parsed_rows.tempfile, "TemporaryFile", opened)
    rows = [{"a": "é" * number, "b": str(number)} for number in range(100)]
    lines = "\n".join(json.dumps(row) for row in rows)
    assert read_rows(write(tmp_path / "a.jsonl", lines)) == rows
    assert read_rows(write(tmp_path / "a.csv", "a,b\n" + "\n".join(f"{row['a']},{row['b']}" for row in rows))) == rows


def test_parsed_rows_are_what_json_says(tmp_path):
    values = [1, 2.5, 10**40, True, None, "\ud800", "\x00", [1, [2, {"x": "é"}]], {"y": []}, "", -0.0, float("inf")]
    lines = [json.dumps({"a": value, str(number): ""}) for number, value in enumerate(values)]
    read = read_rows(write(tmp_path / "a.jsonl", "\n".join([*lines, '{"a": NaN}'])))
    assert list(map(str, read)) == [*(str({"a": value, str(n): ""}) for n, value in enumerate(values)), "{'a': None}"]
    assert read[7] is not read[7]  # whoever changes a row changes nobody's


def test_compressed_files_are_read(tmp_path):
    for name, content in {"a.jsonl.gz": '{"a": "é"}\n', "a.csv.GZ": "a\né\n", "a.json.gz": '[{"a": "é"}]'}.items():
        assert read_rows(write(tmp_path / name, gzip.compress(content.encode()))) == [{"a": "é"}], name
    broken = gzip.compress(b"a\nb\n" * 1000)[:-20]
    assert "not a readable gzip file" in problem(write(tmp_path / "b.csv.gz", broken))
    assert "not a readable gzip file" in problem(write(tmp_path / "c.csv.gz", b"a\nb\n"))


def test_one_row_of_a_megabyte_and_one_row_alone(tmp_path):
    text = "word é " * 150_000
    for name, content in {"a.jsonl": json.dumps({"a": text}), "a.csv": f'a\n"{text}"\n'}.items():
        assert read_rows(write(tmp_path / name, content)) == [{"a": text}], name
    read = read_rows(write(tmp_path / "b.jsonl", f'{{"a": 1}}\n{json.dumps({"a": text})}\n{{"a": 2}}'))
    assert [len(str(row["a"])) for row in read] == [1, len(text), 1]


def test_a_wrong_byte_far_into_a_file_is_named_by_its_line(tmp_path):
    good = "é" * 1000 + "\n"
    for encoding, byte in (("utf-8", b"\xe9"), ("cp1252", b"\x81")):
        file = write(tmp_path / f"{encoding}.txt", good.encode(encoding) * 5000 + byte + b"\n" + good.encode(encoding))
        assert problem(file, encoding=encoding).startswith(f"{file}:5001: byte 0x{byte.hex()} is not {encoding};")
    file = write(tmp_path / "nul.txt", good.encode() * 5000 + b"\0\n")
    assert problem(file).startswith(f"{file}:5001: contains a NUL byte")


def test_a_file_that_changes_is_read_again_and_one_that_shrinks_is_said(tmp_path):
    file = write(tmp_path / "a.txt", "one\n" * 200_000)
    first = read_rows(file)
    assert read_rows(file) is first
    os.truncate(file, 400_000)
    with pytest.raises(DataError, match="became shorter while it was read; start again"):
        first[199_999]
    assert len(read_rows(file)) == 100_000
