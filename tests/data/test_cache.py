"""Entries of prepared data: whole or not there, whoever writes them and whatever happened to them."""

import errno
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tunelab.data import cache


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def writer(text: str):
    def write(folder: Path) -> None:
        (folder / "a.json").write_text(text)
        (folder / "b.arrow").write_bytes(b"x" * 1000)

    return write


def test_the_folder_is_tunelab_cache_then_xdg_then_home(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache" / "data"
    monkeypatch.delenv("TUNELAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "tunelab" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "tunelab" / "data"


def test_an_entry_is_found_once_it_is_whole(empty_cache):
    assert cache.find("k") is None
    folder = cache.add("k", writer("one"))
    assert cache.find("k") == folder == empty_cache / "k"
    assert (folder / "a.json").read_text() == "one"


def test_a_writer_that_fails_leaves_nothing(empty_cache):
    def full(folder: Path) -> None:
        (folder / "a.json").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        cache.add("k", full)
    assert list(empty_cache.iterdir()) == []


@pytest.mark.parametrize("name", ["b.arrow", "files.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_entry_is_not_found_and_is_made_again(name, damage):
    file = cache.add("k", writer("one")) / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-7] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    assert cache.find("k") is None
    assert (cache.add("k", writer("two")) / "a.json").read_text() == "two"
    assert cache.find("k") is not None


def test_the_first_of_two_writers_wins(empty_cache):
    def slow(folder: Path) -> None:
        writer("slow")(folder)
        cache.add("k", writer("quick"))

    assert (cache.add("k", slow) / "a.json").read_text() == "quick"
    assert [path.name for path in empty_cache.iterdir()] == ["k"]


def add_in_process(number: int) -> str:
    folder = cache.add("k", writer(str(number)))
    return (folder / "a.json").read_text()


@pytest.mark.slow
def test_processes_that_write_at_once_read_one_entry(empty_cache):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        read = pool.map(add_in_process, range(16), chunksize=1)
    assert len(set(read)) == 1
    assert [path.name for path in empty_cache.iterdir()] == ["k"]


def test_what_was_used_longest_ago_goes_first_when_there_is_too_much(empty_cache, monkeypatch):
    for age, key in enumerate(("old", "older", "oldest"), 1):
        file = cache.add(key, writer(key)) / "files.json"
        os.utime(file, (time.time() - 100 * age,) * 2)
    cache.find("oldest")
    size = sum(path.stat().st_size for path in (empty_cache / "old").iterdir())
    monkeypatch.setattr(cache, "LIMIT_BYTES", 3 * size + 20)
    cache.add("new", writer("new"))
    assert {path.name for path in empty_cache.iterdir()} == {"oldest", "old", "new"}


def test_what_killed_processes_left_is_cleared_after_a_day(empty_cache):
    for name, days in ((".new-killed", 2), (".new-running", 0)):
        (empty_cache / name).mkdir(parents=True)
        os.utime(empty_cache / name, (time.time() - days * 86400,) * 2)
    cache.add("k", writer("one"))
    assert {path.name for path in empty_cache.iterdir()} == {".new-running", "k"}


def test_a_place_that_cannot_be_written_is_an_error_of_the_system(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "file"))
    assert cache.find("k") is None
    with pytest.raises(OSError):
        cache.add("k", writer("one"))
