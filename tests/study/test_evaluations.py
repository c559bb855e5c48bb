"""An exchange of evaluations that is killed anywhere loses and mixes nothing; real processes, killed at every write."""

import json
import os
import sys

import pytest

import tiny
from tunelab.errors import TunelabError
from tunelab.study.evaluations import FILES, Evaluations
from tunelab.study.store import RunFolder

WRITES = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir")
"""Audit events of what an exchange does to a disk."""
RUNS = {most: tiny.run_config(generation={"max_new_tokens": most}) for most in (3, 9)}
BEFORE, AFTER = 3, 9

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")


def texts(most: int) -> dict[str, str]:
    """An evaluation's files; the second one alone has a general.jsonl."""
    names = [name for name in FILES if name != "general.jsonl" or most == AFTER]
    return {name: json.dumps({**RUNS[most].model_dump(mode="json"), "provenance": {"file": name}}) for name in names}


def in_place(folder: RunFolder) -> dict[str, str]:
    return {name: (folder.path / name).read_text() for name in FILES if (folder.path / name).exists()}


def killed_at(count: int, do, *given) -> bool:
    """Whether a process that is ended without a word at that write of `do` has got so far."""
    process = os.fork()
    if process == 0:
        seen = 0

        def hook(event: str, arguments) -> None:
            nonlocal seen
            seen += event in WRITES
            if seen == count:
                os._exit(9)

        try:
            sys.addaudithook(hook)
            do(*given)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, 9), f"killed at write {count} it has ended with {status}"
    return status == 9


@pytest.mark.parametrize("way", ["new", "back"])
def test_killed_at_every_write_it_goes_on_without_a_loss(tmp_path, way):
    count, killed = 0, True
    while killed:
        count += 1
        folder = RunFolder(tmp_path / str(count))
        folder.path.mkdir()
        for name, text in texts(BEFORE).items():
            (folder.path / name).write_text(text)
        evaluations, asked, earlier = Evaluations(folder.path), AFTER, BEFORE
        if way == "back":
            evaluations.put_in_place(RUNS[AFTER], texts(AFTER))
            asked, earlier = BEFORE, AFTER
        contents = texts(asked) if way == "new" else None
        killed = killed_at(count, evaluations.put_in_place, RUNS[asked], contents)
        for again in (1, 2 + count % 7):  # and so is who goes on with it
            killed_at(again, evaluations.finish)
        evaluations.finish()
        assert not evaluations.interrupted
        assert in_place(folder) in (texts(BEFORE), texts(AFTER)), f"mixed or lost, killed at write {count}"
        if in_place(folder) == texts(earlier):
            evaluations.put_in_place(RUNS[asked], texts(asked))
        for each in (earlier, asked):
            assert evaluations.keeps(RUNS[each]), f"{each} is gone, killed at write {count}"
            evaluations.put_in_place(RUNS[each])
            assert in_place(folder) == texts(each)
    assert count > 20


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\x00\x00"])
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_damaged_record_is_one_line_that_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    folder = RunFolder(tmp_path)
    read = {"run.json": folder.read_run, "result.json": folder.read_result}
    with pytest.raises(TunelabError, match=rf"{name}: damaged, or written by another version.*move the run's folder"):
        read[name]()


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\x00\x00"])
def test_a_damaged_wish_asks_for_nothing(tmp_path, content):
    (tmp_path / "asked.json").write_text(content)
    assert RunFolder(tmp_path).evaluations.asked() is None
