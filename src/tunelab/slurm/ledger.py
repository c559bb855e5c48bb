"""OUT/slurm/: scripts, manifests, logs, and which jobs were submitted for a study. Its one writer holds OUT."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from tunelab.files import write_atomically
from tunelab.slurm import queue
from tunelab.slurm.script import Script
from tunelab.study.record_files import lines_of

Kind = Literal["wave", "next", "evaluate"]


class Submitted(NamedTuple):
    """A job that was submitted: a line of OUT/slurm/jobs.jsonl."""

    job: str
    kind: Kind
    name: str
    """In the queue: another job may get the id of one that is long over."""
    submission: str
    """Which call of `tunelab run` it belongs to, with all that follows by itself."""
    runs: tuple[str, ...]
    """Of a wave, the run of each task."""
    script: str
    when: str
    """UTC, ISO 8601."""

    def log(self, folder: Path, task: int | None = None) -> Path:
        return folder / (f"{self.job}.log" if task is None else f"{self.job}_{task}.log")


class Ledger:
    def __init__(self, out: Path) -> None:
        self.folder = (out / "slurm").absolute()
        self._file = self.folder / "jobs.jsonl"

    def read(self) -> list[Submitted]:
        """
        Raises:
            UnreadableRun: a line is damaged.
        """
        return lines_of(self._file, _submitted)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        write_atomically(path, text)
        return path

    def started(self, submission: str | None) -> float | None:
        """Seconds since 1970; None: not known here."""
        times = [each.when for each in self.read() if each.submission == submission]
        return datetime.fromisoformat(times[0]).timestamp() if times else None

    def next_number(self) -> int:
        """Of the next wave."""
        return 1 + sum(1 for each in self.read() if each.kind == "wave")

    def submit(
        self, script: Script, file: str, *, kind: Kind, submission: str, when: str, runs: tuple[str, ...] = ()
    ) -> Submitted:
        """
        Raises:
            ConfigError: SLURM refuses it.
        """
        path = self.write(file, script.text)
        with _to_the_end():
            job = queue.submit(path)
            made = Submitted(job, kind, script.name, submission, runs, str(path), when)
            lines = [json.dumps(each._asdict(), ensure_ascii=False) for each in (*self.read(), made)]
            write_atomically(self._file, "".join(f"{line}\n" for line in lines))
        return made

    @property
    def owner(self) -> str | None:
        """Who submitted the jobs; None: nobody has, or a user that this machine does not know."""
        try:
            return self._file.owner()
        except (FileNotFoundError, KeyError):
            return None

    def known(self) -> dict[str, queue.Job]:
        """Jobs of the study that SLURM knows, over or not, each task of an array by itself.

        Raises:
            Unreachable: SLURM's controller does not answer.
        """
        names = {each.job: each.name for each in self.read()}
        if not names:
            return {}
        found = queue.jobs(names, users=[self.owner] if self.owner else [])
        return {job.id: job for job in found.values() if names[job.array] == job.name}

    def live(self, *, besides: str | None = None) -> list[queue.Job]:
        """Jobs of the study that are in the queue, each task of an array by itself.

        Args:
            besides: a job that does not count: the one that asks.

        Raises:
            Unreachable: SLURM's controller does not answer.
        """
        return [job for job in self.known().values() if not job.over and job.array != besides]


def _submitted(line: bytes) -> Submitted:
    facts = json.loads(line)
    return Submitted(**(facts | {"runs": tuple(facts["runs"])}))


@contextmanager
def _to_the_end() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait: a job that nobody has written down could not be found, nor ended, by what the records
    say."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda received, frame: came.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came[:1]:
        os.kill(os.getpid(), number)
