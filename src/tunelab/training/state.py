"""Checkpoints: a folder that is complete the moment it has its name, and the loop's own state in it."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunelab.records import Record

PREFIX, KEPT = "step-", "kept-"


class LoopState(Record):
    """Where the loop stands after step `step`; with the session's own state, all that resuming needs."""

    step: int = 0
    ema: float = 0.0
    """Not yet bias-corrected."""
    num_tokens: int = 0
    num_supervised_tokens: int = 0
    validation_loss: float | None = None
    """Of the last pass; at the end, of what is the result."""
    kept_step: int | None = None
    """With `validation.keep: best`, the step of the lowest validation loss so far."""
    kept_loss: float | None = None
    costs: dict[str, list[float | None]] = {}
    """Seconds and peak GiB by phase."""


def sync_folder(folder: Path) -> None:
    """Make a folder's files and names survive a power cut."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Checkpoints:
    """At most one complete checkpoint in `folder`; a crash at any moment leaves the last complete one readable. Beside
    it the weights that a run may keep: the best so far, and the best that the last checkpoint knows."""

    def __init__(self, folder: Path, *, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """`check` raises where another process has taken the run over: asked before a checkpoint gets its name."""
        self.folder = folder
        self._check = check
        self._seconds = seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """At least `seconds` have passed since the last one. The only use of a clock: it changes no number."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: LoopState, write: Callable[[Path], None]) -> None:
        """`write` puts the session's state into the folder it is given."""

        def write_both(folder: Path) -> None:
            write(folder)
            (folder / "loop.json").write_text(state.model_dump_json())

        self._replace(PREFIX, state.step, write_both, spared=())
        self._forget(KEPT, spared=(state.kept_step,))
        self._last = time.monotonic()

    def keep(self, step: int, write: Callable[[Path], Any]) -> None:
        """Weights that may become the result, `write` puts them into the folder it is given."""
        latest = self.latest()
        self._replace(KEPT, step, write, spared=() if latest is None else (latest[0].kept_step,))

    def kept(self, step: int) -> Path:
        return self.folder / f"{KEPT}{step:09d}"

    def _replace(self, prefix: str, step: int, write: Callable[[Path], Any], *, spared: tuple[int | None, ...]) -> None:
        """Complete the moment it has its name; then what it replaces is removed."""
        self._check()
        for left in self.folder.glob(".writing-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        temporary = self.folder / f".writing-{uuid.uuid4().hex[:12]}"
        temporary.mkdir(parents=True)
        write(temporary)
        sync_folder(temporary)
        self._check()
        target = self.folder / f"{prefix}{step:09d}"
        if target.exists():  # the same step again, after a phase that changed no weight
            shutil.rmtree(target)
        temporary.rename(target)
        self._forget(prefix, spared=(step, *spared))

    def _forget(self, prefix: str, *, spared: tuple[int | None, ...]) -> None:
        names = {f"{prefix}{step:09d}" for step in spared if step is not None}
        for other in self.folder.glob(f"{prefix}*"):
            if other.name not in names:
                shutil.rmtree(other)

    def latest(self) -> tuple[LoopState, Path] | None:
        complete = self._complete()
        if not complete:
            return None
        return LoopState.model_validate(json.loads((complete[-1] / "loop.json").read_text())), complete[-1]

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob(f"{PREFIX}*"))
