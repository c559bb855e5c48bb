"""Lines of a file that grows and is rewound."""

import pytest

from tunelab.launch.tracking import growing
from tunelab.launch.tracking.growing import Growing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "steps.jsonl"


def test_lines_come_once_and_the_last_one_when_it_has_ended(path):
    file = Growing(path)
    assert file.lines() == ([], True)
    path.write_text("one\ntwo\nthr")
    assert file.lines() == (["one", "two"], True)
    assert file.lines() == ([], False)
    with path.open("a") as grown:
        grown.write("ee\nfour\n")
    assert file.lines() == (["three", "four"], False)


@pytest.mark.parametrize("rewound", ["one\n", "one\nTWO\nTHREE\nfour\n", "", "one\nTWO\n"])
def test_a_file_that_was_rewound_comes_again_from_its_first_line(path, rewound):
    path.write_text("one\ntwo\nthree\n")
    file = Growing(path)
    file.lines()
    path.write_text(rewound)
    assert file.lines() == (rewound.splitlines(), True)


def test_a_file_is_read_a_piece_at_a_time(path, monkeypatch):
    monkeypatch.setattr(growing, "MOST_BYTES", 10)
    path.write_text("".join(f"{number:03d}\n" for number in range(7)))
    file, found = Growing(path), []
    while lines := file.lines()[0]:
        assert len(lines) <= 2
        found += lines
    assert found == [f"{number:03d}" for number in range(7)]


def test_again_is_from_the_first_line(path):
    path.write_text("one\ntwo\n")
    file = Growing(path)
    file.lines()
    file.again()
    assert file.lines() == (["one", "two"], True)
