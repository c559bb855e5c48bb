"""A file that is written half: a reader sees the old one, and nothing is left beside it. The end of a log."""

import errno
import os

import pytest

from tunelab import files
from tunelab.files import last_lines, write_atomically


def no_space(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_write_that_fails_in_the_middle_leaves_the_old_bytes_and_no_other_file(before, where, tmp_path, monkeypatch):
    file = tmp_path / "record.json"
    if before is not None:
        write_atomically(file, before)
    monkeypatch.setattr(files.os, where, no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, "new, and longer")
    assert [path.name for path in tmp_path.iterdir()] == ([] if before is None else ["record.json"])
    assert before is None or file.read_text() == "old"


def test_what_is_read_meanwhile_is_the_old_text_and_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    file, seen = tmp_path / "record.json", []
    write_atomically(file, "old")
    fsync, replace = os.fsync, os.replace

    def told(name, real):
        def call(*arguments):
            seen.append((name, file.read_text()))
            return real(*arguments)

        return call

    monkeypatch.setattr(files.os, "fsync", told("fsync", fsync))
    monkeypatch.setattr(files.os, "replace", told("replace", replace))
    write_atomically(file, b"new")
    assert seen == [("fsync", "old"), ("replace", "old")] and file.read_text() == "new"


def test_the_end_of_a_log_is_read_without_its_beginning(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {number}\n\n" for number in range(5000)) + "50 %\r100 %")
    assert last_lines(log, 3) == ["line 4999", "50 %", "100 %"]
    assert last_lines(tmp_path / "none", 3) == []
