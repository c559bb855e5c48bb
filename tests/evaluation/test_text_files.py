import pytest

from tunelab.errors import DataError
from tunelab.evaluation.text_files import LONGEST_LINE, read_outputs, read_references


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="file.txt"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write_file


def test_outputs_are_one_a_line_and_an_empty_line_is_an_empty_output(write):
    assert read_outputs(write("a b\n\n  c \n")) == ["a b", "", "c"]
    assert read_outputs(write("a\n\n")) == ["a", ""]
    assert read_outputs(write("a")) == ["a"]
    assert read_outputs(write("\n")) == [""]
    assert read_outputs(write("a\r\nb\rc\n")) == ["a", "b", "c"]
    assert read_outputs(write("\ufeffa\n")) == ["a"]


def test_json_lines_hold_line_breaks(write):
    assert read_outputs(write('"a\\nb"\n""\n', "o.jsonl")) == ["a\nb", ""]
    assert read_references(write('["a\\nb", "c"]\n"d"\n', "r.jsonl")) == [["a\nb", "c"], ["d"]]


def test_references_are_groups_where_a_blank_line_stands_between(write):
    assert read_references(write("a\nb\n\n c \n")) == [["a", "b"], ["c"]]
    assert read_references(write("a\n\nb\n\n\n\n")) == [["a"], ["b"]]
    assert read_references(write("a\tx\n\nb\n")) == [["a\tx"], ["b"]], "a tab inside a group is white space"


def test_references_without_blank_lines_are_one_a_line_and_tabs_separate_several(write):
    assert read_references(write("a\nb\nc")) == [["a"], ["b"], ["c"]]
    assert read_references(write("a\tb\nc\t\td\t\n", "r.tsv")) == [["a", "b"], ["c", "d"]]
    assert read_references(write("a\tb\tc\nd\n")) == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize("header", ["mr\tref", "MR\tReference", "source\ttarget"])
def test_the_e2e_table_groups_neighbouring_lines_of_one_source(write, header):
    table = f"{header}\nname[A]\tone\nname[A]\ttwo\nname[B]\tthree\nname[A]\tfour\n"
    assert read_references(write(table, "r.tsv")) == [["one", "two"], ["three"], ["four"]]


def test_the_e2e_data_sets_own_csv_is_read(shared):
    groups = read_references(shared / "data" / "e2e_nlg" / "testset_w_refs.csv")
    assert len(groups) == 630 and sum(map(len, groups)) == 4693


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "o.txt", "o.txt: is empty"),
        (b"good\nb\xffd\n", "o.txt", r"o.txt:2: byte 2 of the line \(0xff\) is not UTF-8"),
        (b"a\n" + b"x" * (10 * 1024**2), "o.txt", "o.txt:2: a line of 10,485,760 bytes; at most 1,000,000"),
        (b'"a"\nb\n', "o.jsonl", "o.jsonl:2: not JSON; every line is a JSON string"),
        (b'"a"\n["b"]\n', "o.jsonl", r"o.jsonl:2: got \[\"b\"\]; every line is a JSON string"),
        (b"mr\toutput\nx\ty\n", "o.tsv", "outputs are one a line, or .jsonl"),
    ],
)
def test_bad_outputs_are_told_with_their_line(write, content, name, said):
    with pytest.raises(DataError, match=said):
        read_outputs(write(content, name))


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"\n\n", "r.txt", "r.txt: is empty"),
        (b"a\n\n\nb\n", "r.txt", "r.txt:3: no reference for example 2"),
        (b"\na\n", "r.txt", "r.txt:1: no reference for example 1"),
        (b'["a"]\n[]\n', "r.jsonl", r"r.jsonl:2: got \[\]; every line is a list of JSON strings, not empty"),
        (b'["a"]\n\n["b"]\n', "r.jsonl", "r.jsonl:2: not JSON"),
        (b"mr\tref\nx\ty\nz\n", "r.tsv", "row 3 has 1 columns, the header 2"),
        (b"one,two\nthree,four\n", "r.csv", "a .csv needs a header line"),
    ],
)
def test_bad_references_are_told_with_their_line(write, content, name, said):
    with pytest.raises(DataError, match=said):
        read_references(write(content, name))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="nothing.txt: cannot be read: No such file"):
        read_outputs(tmp_path / "nothing.txt")


def test_a_line_of_the_longest_length_is_read(write):
    assert len(read_outputs(write(b"x" * LONGEST_LINE))[0]) == LONGEST_LINE
