"""Files that nobody has described: encoding, header and separator are found out, and each finding is said."""

import gzip

import pytest

from tunelab.data.reading.found_rows import find_rows, has_header
from tunelab.data.reading.text_file import WrongEncoding
from tunelab.errors import DataError


def file(tmp_path, text: str, *, name: str = "a.csv", encoding: str = "utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_plain_file_is_described_and_nothing_is_said(tmp_path):
    found = find_rows(file(tmp_path, "question,answer\nx,y\n"))
    assert (list(found.rows), found.encoding, found.described, found.notes) == (
        [{"question": "x", "answer": "y"}], "utf-8", True, ())  # fmt: skip


@pytest.mark.parametrize(("encoding", "said"), [("cp1252", "cp1252"), ("utf-16", "utf-16")])
def test_another_encoding_is_found_and_said_with_a_text_to_judge_it_by(tmp_path, encoding, said):
    found = find_rows(file(tmp_path, "question,answer\nWhere?,Un café noir\n", encoding=encoding))
    assert (found.rows[0]["answer"], found.encoding, found.described) == ("Un café noir", said, True)
    assert found.notes == (f"a.csv: not UTF-8, read as {said} (line 2: 'Where?,Un café noir')",)


def test_a_compressed_file_too(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("text\ncafé\n".encode("cp1252")))
    assert find_rows(path).rows[0] == {"text": "café"}


def test_an_encoding_that_is_given_is_the_only_one_tried(tmp_path):
    path = file(tmp_path, "text\ncafé\n", encoding="cp1252")
    with pytest.raises(WrongEncoding, match="byte 0xe9 is not utf-8"):
        find_rows(path, encoding="utf-8")
    assert find_rows(path, encoding="cp1252").notes == ()


def test_what_is_neither_is_refused_as_not_utf_8(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text\n\xe9\x81\n")  # 0x81 is no character of cp1252
    with pytest.raises(DataError, match="byte 0xe9 is not utf-8"):
        find_rows(path)


HEADERS = {
    "the usual names": [["text", "label"], ["a b c", "good"], ["d e f", "bad"]],
    "names nobody knows": [["Frage", "Antwort"], ["Wo?", "Hier."], ["Wer?", "Ich."]],
    "an index of pandas": [["", "0", "1"], ["0", "a", "b"], ["1", "c", "d"]],
    "a long question of a form": [["Timestamp", "How did you like the food at our place?"], ["1", "Well."]],
    "one line alone": [["left", "right"]],
}
ROWS = {
    "a number": [["3", "Wall Street falls"], ["1", "Peace talks begin"]],
    "a label that comes again": [
        ["good", "I like it"],
        ["bad", "No"],
        ["good", "Yes"],
        ["bad", "Never"],
        ["bad", "Go"],
    ],
    "a date": [["2024-05-01", "Rain"], ["2024-05-02", "Sun"]],
    "an address": [["https://a.example/1", "Rain"], ["https://a.example/2", "Sun"]],
    "sentences": [
        ["What is the capital of France?", "It is Paris, on the Seine."],
        ["And where is Rome then, please?", "It is in Italy, of course."],
    ],
}


@pytest.mark.parametrize("case", HEADERS)
def test_names_of_columns_are_recognised(case):
    assert has_header(HEADERS[case])


@pytest.mark.parametrize("case", ROWS)
def test_a_first_line_that_is_a_row_is_recognised(case):
    assert not has_header(ROWS[case])


def test_without_a_header_the_first_line_is_a_row_and_that_is_said(tmp_path):
    found = find_rows(file(tmp_path, '\ufeff3,"Wall Street\nfalls"\n1,Peace\n'))
    assert list(found.rows) == [
        {"column_1": "3", "column_2": "Wall Street\nfalls"}, {"column_1": "1", "column_2": "Peace"}]  # fmt: skip
    assert not found.described
    assert found.notes == (
        "a.csv: the first line (3, Wall Street falls) is a row, so the columns are column_1, column_2, ...",
    )


def test_a_header_can_be_said(tmp_path):
    path = file(tmp_path, "3,a\n1,b\n")
    assert find_rows(path, header=True).rows[0] == {"3": "1", "a": "b"}
    found = find_rows(file(tmp_path, "Frage,Antwort\nWo?,Hier.\n"), header=False)
    assert (found.rows[0], found.notes) == ({"column_1": "Frage", "column_2": "Antwort"}, ())


def test_a_long_first_line_that_is_taken_for_names_is_said(tmp_path):
    found = find_rows(file(tmp_path, "Timestamp,How did you like the food?\nMay,Well.\n"))
    assert found.notes == ("a.csv: the first line (Timestamp, How did you like the food?) is read as the names of the "
                           "columns",)  # fmt: skip


def test_semicolons_are_recognised_and_said(tmp_path):
    found = find_rows(file(tmp_path, "question;answer\nWhere, please?;Here\n"))
    assert (list(found.rows), found.described) == ([{"question": "Where, please?", "answer": "Here"}], False)
    assert found.notes == ("a.csv: its values are separated by semicolons",)


def test_one_column_of_text_with_a_semicolon_in_some_rows_stays_one_column(tmp_path):
    found = find_rows(file(tmp_path, "text\nRain; sun\nSnow\n"))
    assert found.rows[0] == {"text": "Rain; sun"} and found.notes == ()


def test_a_row_with_too_many_values_is_named_by_its_line(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:2: 3 values for 2 columns \(column_1, column_2\)"):
        find_rows(file(tmp_path, "3,a\n1,b,c\n"))


def test_a_missing_file_is_said_as_elsewhere(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        find_rows(tmp_path / "a.csv")


def test_other_formats_are_read_as_they_are(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "a.parquet")
    found = find_rows(tmp_path / "a.parquet")
    assert (list(found.rows), found.encoding, found.described) == ([{"text": "a"}], None, True)
    assert find_rows(file(tmp_path, '{"text": "é"}\n', name="a.jsonl", encoding="cp1252")).rows[0] == {"text": "é"}
