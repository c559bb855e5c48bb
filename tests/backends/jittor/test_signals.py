"""Signals that reach a run of Jittor's: they destroy nothing, and stop it as they stop every other run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tunelab.backends.jittor import environment

pytestmark = pytest.mark.slow

TASK = {"name": "restaurants", "train_rows": 96, "validation_rows": 8, "test_rows": 12, "metrics": ["rouge_l"]}
STUDY = {
    "name": "stopped", "model": "tunelab/tiny", "backends": ["jittor"], "tasks": [TASK], "methods": [{"full": {}}],
    "seeds": [0], "budget": {"steps": 400}, "batch": {"examples": 2, "max_tokens": 256, "max_length": 64},
    "threads": 1, "checkpoint": {"seconds": 999},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["heard", "children"])
def test_a_signal_within_a_product_destroys_nothing(jittor, kind):
    """oneDNN's product has its stack pointer in the heap; what a signal wrote below it ended one run in 25."""
    script = str(Path(__file__).with_name("signalled.py"))
    command = [str(environment.environment().python), "-I", script, str(environment.START), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_run_writes_its_checkpoint(jittor, tmp_path, number):
    """As SLURM and a user stop it, while Jittor's own processes are there; Jittor would end itself at Ctrl-C."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "tunelab", "run", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list((tmp_path / "out").glob("runs/full--*/steps.jsonl")):
        time.sleep(0.05)
    (path,) = (tmp_path / "out" / "runs").glob("full--*")
    os.kill(worker_of(path), number)
    running.wait(timeout=120)
    (checkpoint,) = (path / "checkpoint").glob("step-*")
    assert int(checkpoint.name.removeprefix("step-")) == len((path / "steps.jsonl").read_text().splitlines()) > 0
    assert "SIG" not in (path / "log.txt").read_text()


def worker_of(path: Path) -> int:
    """Not one of its own children, which have the same command and may have a lower number."""
    parents = dict(found for process in Path("/proc").glob("[0-9]*") if (found := parent_of(process, path)) is not None)
    (worker,) = [pid for pid, parent in parents.items() if parent not in parents]
    return worker


def parent_of(process: Path, path: Path) -> tuple[int, int] | None:
    """(its number, its parent's) of a worker and its forks."""
    try:
        parts = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
    return (int(process.name), parent) if str(environment.START) in parts and str(path) in parts else None
