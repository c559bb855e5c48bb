"""Studies of the campaign, and `tunelab run` on them as a user would call it: a process group of its own, with a cache,
a home and a folder of temporary files of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "TUNELAB_TORTURE"
"""Environment of everything that one call starts: what outlives it is found by that."""
METHODS = {
    "full": "learning_rate: 1.0e-3",
    "lora": "learning_rate: 1.0e-3, dropout: 0.1",
    "dora": "learning_rate: 1.0e-3",
    "qlora": "learning_rate: 1.0e-3",
    "rosa": "learning_rate: 1.0e-3",
    "galore": "learning_rate: 1.0e-3, rank: 8, update_gap: 3",
    "q_galore": "learning_rate: 1.0e-3, rank: 8, update_gap: 3",
    "lisa": "learning_rate: 1.0e-3, layers: 1, period: 3",
    "apollo": "learning_rate: 1.0e-3, rank: 8",
    "peft_any": "type: IA3, learning_rate: 1.0e-3",
    "sequential": "parts: [full: {learning_rate: 1.0e-3}, lora: {}], shares: [0.5, 0.5], learning_rate: 1.0e-3",
    "layerwise": "parts: [galore: {rank: 8}, lora: {}], first: attention, learning_rate: 1.0e-3",
    "merge": "of: [full, lora], how: average",
    "ensemble": "of: [full, lora]",
}
"""Every file of methods/, which a test keeps true."""
STUDY = """name: torture
model: tunelab/tiny
tasks:
  - {{name: restaurants, train_rows: 96, validation_rows: 6, test_rows: 24, metrics: [rouge_l, loss]}}
methods:
{methods}
seeds: [0]
budget: {{steps: {steps}}}
batch: {{examples: {examples}, max_tokens: 256}}
validation: {{every: 0.25}}
generation: {{max_new_tokens: 6}}
checkpoint: {{seconds: {checkpoint_seconds}}}
precision: fp32
threads: 1
"""
SECONDS = 900.0
"""After which a call counts as one that hangs."""


def study_text(
    names: Sequence[str], *, steps: int = 12, examples: int = 4, checkpoint_seconds: float | int = 0.2
) -> str:
    lines = "\n".join(f"  - {name}: {{{METHODS[name]}}}" for name in names)
    return STUDY.format(methods=lines, steps=steps, examples=examples, checkpoint_seconds=checkpoint_seconds)


class Place:
    """A folder with a study, its results, and what its calls have for their own."""

    def __init__(self, folder: Path, text: str, **environment: str | None) -> None:
        """
        Args:
            environment: changes; None takes a variable away.
        """
        self.folder, self.out, self.study = folder, folder / "out", folder / "study.yaml"
        for name in ("cache", "home", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.study.write_text(text, encoding="utf-8")
        self.environment = changed(os.environ, self._own() | environment)

    def _own(self) -> dict[str, str]:
        return {
            MARK: str(self.folder), "TUNELAB_CACHE": str(self.folder / "cache"), "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "tunelab", "run", str(self.study), "--out", str(self.out), *more]

    def started(self) -> Call:
        return Call(self.command(), self.folder / "said.txt", self.environment)

    def ran(self) -> Call:
        """To its end."""
        call = self.started()
        call.wait()
        return call


class Call:
    """A `tunelab run` that has been started; what it says goes to a file."""

    def __init__(self, command: Sequence[str], said: Path, environment: Mapping[str, str]) -> None:
        self._said = said
        with said.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=dict(environment),
                start_new_session=True, preexec_fn=_with_default_signals,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float = SECONDS) -> int | None:
        """Its status; None: it hangs, and is ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


def _with_default_signals() -> None:
    """A call in the background of a shell would ignore them, and its children too."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def changed(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    found = {**environment, **changes}
    return {name: value for name, value in found.items() if value is not None}


def outliving(place: Path, *, seconds: float = 10.0) -> list[int]:
    """Processes of the calls of a place that have not ended after so long; those are ended then."""
    deadline = time.monotonic() + seconds
    while (found := _marked(place)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _marked(place: Path) -> list[int]:
    mark, found = f"{MARK}={place}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's; a zombie's environment is empty
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
