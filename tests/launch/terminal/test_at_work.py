"""A verb says what it does at once on a terminal, and elsewhere what takes its time."""

import io
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from tunelab.launch.terminal import at_work as module
from tunelab.launch.terminal.at_work import at_work
from tunelab.stages import stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_for_each_stage_that_takes_its_time_and_for_no_other(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    out = io.StringIO()
    with at_work("planning study.yaml", stream=out) as work:
        with stage("reading data"):
            time.sleep(0.8)
        with stage("counting parameters"):
            pass
        work.rest()
        time.sleep(0.6)
    assert out.getvalue() == "reading data ...\n"


def test_nothing_is_told_of_what_is_quick():
    out = io.StringIO()
    with at_work("planning study.yaml", stream=out), stage("reading data"):
        pass
    assert out.getvalue() == ""


def test_a_terminal_gets_a_line_at_once_that_fits_it_and_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with at_work("planning study.yaml", stream=out):
        assert "planning study.yaml, 0 s" in out.getvalue(), "before anything else happens"
        with stage("counting parameters: " + "long label " * 20):
            time.sleep(0.5)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\r", out.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert any("counting parameters: long" in line for line in lines)
    assert max(map(len, lines)) <= 40
    assert out.getvalue().rstrip().endswith("\x1b[1A\x1b[2K"), "the line is wiped out"


def test_an_error_is_printed_after_the_line_is_gone():
    out = Terminal()
    with pytest.raises(ValueError), at_work("planning", stream=out):
        raise ValueError
    assert out.getvalue().rstrip().endswith("\x1b[2K")


@pytest.mark.slow
def test_run_says_something_before_anything_heavy_is_imported(tmp_path):
    """On a real terminal: its first bytes, beside the time that importing torch takes."""
    here, there = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tunelab", "plan", "quickstart"], cwd=tmp_path, stdout=there, stderr=there,
        stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    os.close(there)
    seen, first = b"", None
    try:
        while True:
            try:
                got = os.read(here, 65536)
            except OSError:  # its end, on Linux
                break
            if not got:
                break
            seen += got
            if first is None and b"planning quickstart" in seen:
                first = time.monotonic() - began
    finally:
        process.wait(120)
        os.close(here)
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    heavy = time.monotonic() - began
    assert first is not None and first < heavy / 2, f"first line after {first} s; torch takes {heavy:.1f} s"
    assert b"5 runs on" in seen  # a quick machine draws no frame of the stages between


def test_nothing_is_written_over_a_question(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with at_work("reading rows.csv", stream=out) as work:
        with work.asking():
            begin = len(out.getvalue())
            out.write("Overwrite? ")
            time.sleep(0.5)
            assert out.getvalue()[begin:] == "Overwrite? "
        assert "reading rows.csv" in out.getvalue()[begin:], "and it goes on afterwards"


def test_a_log_gets_no_line_while_the_user_is_asked(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    out = io.StringIO()
    with at_work("reading rows.csv", stream=out) as work, work.asking():
        time.sleep(0.4)
    assert out.getvalue() == ""
