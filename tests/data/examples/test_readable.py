"""Rows are read once while planning, and again whenever they could be others."""

import pytest

from tunelab.data import cache
from tunelab.data.examples.readable import unreadable
from tunelab.tasks.files import Files


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "cache"))


def task(tmp_path, train: str = '{"q": "a", "a": "b"}\n{"q": "e", "a": "f"}\n', **options) -> Files:
    for name, content in (("train", train), ("test", '{"q": "c", "a": "d"}\n')):
        (tmp_path / f"{name}.jsonl").write_text(content)
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    return Files(name="t", **{**files, "prompt": "{q}", "target": "{a}", **options})


def test_rows_found_readable_are_not_read_again(tmp_path, monkeypatch):
    good = task(tmp_path)
    assert unreadable(good) == []
    monkeypatch.setattr(Files, "examples", None)
    assert unreadable(good) == []


def test_other_rows_and_other_options_are_read(tmp_path):
    assert unreadable(task(tmp_path)) == []
    assert "has no column 'x'" in unreadable(task(tmp_path, target="{x}"))[0]
    (problem,) = unreadable(task(tmp_path, train="no json"))
    assert "train.jsonl:1: not valid JSON" in problem
    assert unreadable(task(tmp_path, train="no json")) == [problem], "what is wrong is said each time"


def test_a_missing_file_is_said_as_reading_it_says_it(tmp_path):
    missing = task(tmp_path)
    missing.train.unlink()
    assert "no such file; a path in a study is relative to" in unreadable(missing)[0]


def test_without_a_cache_rows_are_read_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path / "file"))
    assert unreadable(task(tmp_path)) == [] == unreadable(task(tmp_path))
    assert cache.find("readable") is None


def test_a_part_of_a_mixture_may_be_too_few_rows_to_hold_some_out(tmp_path):
    one = task(tmp_path, train='{"q": "a", "a": "b"}\n')
    (problem,) = unreadable(one)
    assert "train has 1 different prompt" in problem
    assert unreadable(one, part=True) == [] != unreadable(one), "what is kept of one is not taken for the other"
