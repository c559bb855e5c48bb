"""What the system refuses is one line: a file where a folder belongs, a full disk, an output that takes no more, and an
encoding that has not every character."""

import errno
import json
import os
import subprocess
import sys

import pytest

from tunelab.errors import RunBusy
from tunelab.files import refusal_of, write_atomically


@pytest.mark.parametrize("verb", ["run", "report", "evaluate"])
def test_an_out_that_is_a_file_is_named(command, finished, tmp_path, verb):
    (tmp_path / "taken").write_text("")
    calls = {
        "run": ["run", finished.file, "--cluster", "in-process"],
        "report": ["report", finished.out, finished.out.parent / "out"],
        "evaluate": ["evaluate", finished.run("lora"), "--task", f"{finished.file}:restaurants"],
    }
    answer = command(*calls[verb], "--out", tmp_path / "taken" / "below")
    assert answer.status == 1 and answer.err.splitlines()[-1].startswith(f"error: {tmp_path / 'taken'}")
    assert "a file stands where a folder belongs" in answer.err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_a_report_that_cannot_be_written_names_its_file(command, finished, monkeypatch, number):
    def refused(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tunelab.files.os.fsync", refused)
    before = sorted(finished.out.rglob("*"))
    answer = command("report", finished.out)
    (line,) = answer.err.splitlines()
    assert answer.status == 1 and line.startswith(f"error: {finished.out}") and os.strerror(number) in line
    assert sorted(finished.out.rglob("*")) == before


def test_a_write_that_fails_leaves_the_old_text_and_names_the_file_itself(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        write_atomically(tmp_path / "folder", "text")
    assert raised.value.filename == str(tmp_path / "folder") and [path.name for path in tmp_path.iterdir()] == [
        "folder"
    ]


def test_only_the_file_system_is_spoken_of():
    assert refusal_of(OSError(errno.ENOSPC, "No space left on device")).startswith(
        "a file, or standard output: No space"
    )
    for other in (
        ConnectionResetError(errno.ECONNRESET, "reset"),
        OSError("a library's words"),
        OSError(errno.EINVAL, ""),
    ):
        assert refusal_of(other) is None
    assert not isinstance(RunBusy("x"), OSError)


def called(*arguments: str, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "tunelab", *arguments], check=False, **options)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_output_is_one_line():
    with open("/dev/full", "wb") as full:
        done = called("list", "metrics", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: a file, or standard output: No space left") and done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_closed_pipe_is_silent():
    reading, writing = os.pipe()
    os.close(reading)
    done = called("list", "metrics", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_every_character_gets_plain_ones(encoding, finished):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = called("list", "runs", str(finished.out), env=environment, capture_output=True)
    assert done.returncode == 0 and b"lora" in done.stdout and b"----" in done.stdout


@pytest.mark.slow
def test_json_in_ascii_is_the_same_json(tmp_path):
    for name in ("hypotheses", "references"):
        (tmp_path / name).write_text("Grüße → an alle\n", encoding="utf-8")
    found = []
    for encoding in ("utf-8", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        arguments = [
            "score",
            str(tmp_path / "hypotheses"),
            str(tmp_path / "references"),
            "--metrics",
            "rouge_l",
            "--json",
        ]
        found.append(json.loads(called(*arguments, env=environment, capture_output=True).stdout))
    assert found[0] == found[1]
