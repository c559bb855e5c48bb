"""A file that is written half: a reader sees the old one, and nothing is left beside it. Which names may be files'."""

import errno
import os

import pytest

from tunelab import files
from tunelab.files import last_lines, write_atomically
from tunelab.study.store import RunFolder


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


def test_a_record_of_a_run_that_is_half_written_leaves_the_one_before(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write_harness({"tasks": ["one"]})
    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        folder.write_harness({"tasks": ["one", "two"]})
    assert folder.harness_tasks() == ["one"] and [path.name for path in tmp_path.iterdir()] == ["harness.json"]


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_that_was_cut_off_is_no_record_and_the_run_goes_on_without_it(cut, tmp_path):
    folder = RunFolder(tmp_path)
    lines = [f'{{"step": {step}, "loss": 1.5}}' for step in (1, 2, 3)]
    (tmp_path / "steps.jsonl").write_text("\n".join(lines[:2]) + "\n" + lines[2][:cut])
    folder.rewind(step=2)
    assert (tmp_path / "steps.jsonl").read_text() == "\n".join(lines[:2]) + "\n"


def test_the_end_of_a_log_is_read_without_its_beginning(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {number}\n\n" for number in range(5000)) + "50 %\r100 %")
    assert last_lines(log, 3) == ["line 4999", "50 %", "100 %"]
    assert last_lines(tmp_path / "none", 3) == []
