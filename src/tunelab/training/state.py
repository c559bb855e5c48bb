"""Checkpoints: a folder that is complete the moment it has its name, and the loop's own state in it."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunelab.records import Record

PREFIX, KEPT = "step-", "kept-"
SUMS = "checksums.json"
BLOCK = 1 << 20


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
    """By phase, as the meter has them."""


def sync_folder(folder: Path) -> None:
    """Make a folder's files and names survive a power cut."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checksums(folder: Path) -> dict[str, int]:
    """CRC-32 of every file by its path in the folder: of bits that turned on a disk, and of what was cut off."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and each.name != SUMS):
        value = 0
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                value = zlib.crc32(block, value)
        found[path.relative_to(folder).as_posix()] = value
    return found


def damaged_files(folder: Path) -> list[str]:
    """Those that are not what was written. A folder of an older version has no checksums: empty."""
    try:
        wanted = json.loads((folder / SUMS).read_text())
        found = checksums(folder)
        return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError) as error:
        return [f"{SUMS}: {type(error).__name__}"]


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
        replaced, target = temporary.with_name(f"{temporary.name}-old"), self.folder / f"{prefix}{step:09d}"
        temporary.mkdir(parents=True)
        try:
            write(temporary)
            (temporary / SUMS).write_text(json.dumps(checksums(temporary)))
            sync_folder(temporary)
            self._check()
            if target.exists():  # the same step again, after a phase that changed no weight
                target.rename(replaced)
            temporary.rename(target)
        finally:  # a half would fill the disk that had no room for the whole
            for left in (temporary, replaced):
                shutil.rmtree(left, ignore_errors=True)
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
        try:
            return LoopState.model_validate_json((complete[-1] / "loop.json").read_bytes()), complete[-1]
        except (OSError, ValueError):  # damaged: `drop_damaged` says so
            return None

    def drop_damaged(self) -> list[str]:
        """Before a run goes on: whether its checkpoint, and the weights that it has kept, are what was written. If not,
        all are removed, and the run begins anew. Returns notes."""
        complete = self._complete()
        if not complete:
            return []
        bad, latest = damaged_files(complete[-1]), self.latest()
        if latest is None:
            bad = bad or ["loop.json"]
        elif not bad and latest[0].kept_step is not None:
            kept = self.kept(latest[0].kept_step)
            bad = damaged_files(kept) if kept.exists() else [kept.name]
        if not bad:
            return []
        self.clear()
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        step = int(complete[-1].name.removeprefix(PREFIX))
        return [f"its checkpoint of step {step} was damaged ({bad[0]}{more}), so the run began anew"]

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob(f"{PREFIX}*"))
