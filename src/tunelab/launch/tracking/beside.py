"""Mirrors beside a study: they are started, ended and told of, and nothing that they do reaches its runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tunelab.config.schema import StudyConfig
from tunelab.errors import ConfigError
from tunelab.launch.tracking.mirror import UNFINISHED
from tunelab.launch.tracking.sent import TrackerFolder
from tunelab.study.planning.plan import tracker_of
from tunelab.study.planning.rehearse import rehearsed

SWITCH = "TUNELAB_TRACK"
"""Environment: 'off' mirrors nothing, whatever a study says."""
END_SECONDS = 5.0
"""That a study waits at its end for all its mirrors together."""


def is_off() -> bool:
    """
    Raises:
        ConfigError: the variable has another value, which may be meant as anything.
    """
    value = os.environ.get(SWITCH, "")
    if value not in ("", "off"):
        raise ConfigError(f"{SWITCH} is '{value}' in the environment: off mirrors nothing, unset does as a study says")
    return value == "off"


@contextlib.contextmanager
def mirrored(study: StudyConfig, folder: Path, told: Callable[[str], None]) -> Iterator[None]:
    """The study's trackers get what its runs write while the block lasts. What a tracker does costs a line through
    `told`, and at the end END_SECONDS at most.

    Raises:
        ConfigError: of the environment, before anything is started.
    """
    mirrors = [] if is_off() else _started(study, folder, told)
    try:
        yield
    finally:
        _end(mirrors)


class _Mirror:
    """One process, and the thread that waits for its end."""

    def __init__(self, place: TrackerFolder, study: str, told: Callable[[str], None]) -> None:
        self.place, self._told = place, told
        self._process = mirror_process(place, study, stdin=subprocess.PIPE)
        self._ended = False
        self._thread = threading.Thread(target=self._wait, daemon=True, name=f"mirror {place.name}")
        self._thread.start()

    def over(self) -> None:
        """Nothing more will come: it looks a last time."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def end(self, seconds: float) -> None:
        """Wait so long, then end it."""
        try:
            self._thread.join(seconds)
        finally:
            if self._thread.is_alive():
                self._ended = True
                kill_group(self._process)
                self.place.write_problem(UNFINISHED)
                self._told(f"track: {self.place.name}: {UNFINISHED}; `{self.place.goes_on}` sends the rest.")

    def _wait(self) -> None:
        if self._process.wait() != 0 and not self._ended:
            self._told(f"track: {failure(self.place, self._process.returncode)} The runs go on.")


def failure(place: TrackerFolder, status: int) -> str:
    """Of a mirror that has ended by itself."""
    problem = place.problem() if status > 0 else f"its process was ended by {signal.Signals(-status).name}"
    return f"{place.name}: {problem or f'status {status}'} (see {place.log}); `{place.goes_on}` sends the rest."


def _started(study: StudyConfig, folder: Path, told: Callable[[str], None]) -> list[_Mirror]:
    mirrors = []
    for name in study.track:
        place = TrackerFolder(folder, name)
        try:
            lack = tracker_of(name).missing()
            if rehearsed(folder):
                told(f"track: nothing of a rehearsal is sent to {name}{f'; {lack}' if lack else ''}.")
            elif lack:
                place.write_problem(lack)
                told(f"track: {name}: {lack}. Then `{place.goes_on}` sends all of it. The runs go on.")
            else:
                mirrors.append(_Mirror(place, study.name, told))
        except (OSError, ConfigError) as error:
            told(f"track: {name}: {error}. The runs go on.")
    return mirrors


def _end(mirrors: Sequence[_Mirror]) -> None:
    deadline = time.monotonic() + END_SECONDS
    for each in mirrors:
        each.over()
    try:
        for each in mirrors:
            each.end(max(0.0, deadline - time.monotonic()))
    except KeyboardInterrupt:
        for each in mirrors:
            each.end(0.0)
        raise


def mirror_process(place: TrackerFolder, study: str, *arguments: str, stdin: int) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C in a terminal is for the runs, and what a tracker starts ends with it."""
    place.path.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tunelab.launch.tracking.mirror", str(place.results), place.name, study]
    with place.log.open("ab") as log:
        return subprocess.Popen([*command, *arguments], stdin=stdin, stdout=log, stderr=log, start_new_session=True)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """A mirror, and what its tracker has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tracked_facts(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """For the report: each tracker, and how many runs it has or what stood in its way."""
    return {"trackers": "; ".join(f"{name}: {TrackerFolder(folder, name).said()}" for name in names)} if names else {}
