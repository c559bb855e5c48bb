"""`tunelab cancel`: ends what executes a study, by what the records say and never by name. What is finished stays, and
what runs is asked to write its checkpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tunelab.launch.control.found import find_results
from tunelab.launch.executor import GRACE_SECONDS
from tunelab.ownership import STALE_SECONDS, Holder, holder_of, is_here, process_start
from tunelab.slurm import queue
from tunelab.slurm.ledger import Ledger
from tunelab.study.store import Store

WAIT_SECONDS = GRACE_SECONDS + 30
"""For what was asked to end: the grace of running steps, and SLURM's own."""
LOOK_SECONDS = 0.5
SLURM_LOOK_SECONDS = 2.0


class Cancelled(NamedTuple):
    """What became of it."""

    ended: tuple[str, ...]
    remaining: tuple[str, ...]
    """What still runs, each with why or where it must be ended."""
    num_finished: int
    goes_on: str

    @property
    def lines(self) -> list[str]:
        if not self.ended and not self.remaining:
            return [f"Nothing to cancel: nothing executes this study. `{self.goes_on}` goes on with it."]
        stays = f"{self.num_finished} finished runs stay" if self.num_finished != 1 else "1 finished run stays"
        lines = [f"Ended {each}." for each in self.ended] + [f"NOT ended: {each}." for each in self.remaining]
        return [*lines, f"{stays}; `{self.goes_on}` goes on with the others."]


class _Jobs(NamedTuple):
    """Of SLURM, by their ids, as a reader is told of them."""

    ended: dict[str, str]
    remaining: dict[str, str]
    unknown: str = ""
    """What SLURM said where it does not tell whether they have ended."""


def cancel_study(what: str, *, out: Path | None = None, told: Callable[[str], None] = print) -> Cancelled:
    """
    Args:
        told: a line about what is waited for.

    Raises:
        ConfigError: nothing was started there.
    """
    found = find_results(what, out)
    store, ledger = found.store, Ledger(found.store.folder)
    jobs = _cancel_jobs(ledger, told)
    ended = list(jobs.ended.values())
    remaining = [*jobs.remaining.values(), *([jobs.unknown] if jobs.unknown else [])]
    submitted = {each.job for each in ledger.read()}
    for name, holder in _holders(store):
        array = (holder.job or "").partition("_")[0]
        if array in jobs.remaining or (array in submitted and jobs.unknown):
            continue  # told already
        if array in submitted and not is_here(holder):  # killed before it could say so, or out of SLURM's reach
            told(
                f"{name}: job {holder.job} is over, but it has not said so: held for {STALE_SECONDS:.0f} s more at most"
            )
            continue
        left = _end(holder, told)
        if left is None:
            ended.append(f"{name} ({holder.name})")
        else:
            remaining.append(f"{name} ({holder.name}): {left}")
    finished = sum(1 for folder in store.all_runs() if folder.finished)
    return Cancelled(tuple(ended), tuple(remaining), finished, found.goes_on)


def _holders(store: Store) -> Iterator[tuple[str, Holder]]:
    """Who executes the study, and then who executes a run of it and has outlived that one."""
    folders = [("the study's own process", store.folder)]
    for name, folder in folders + [(each.path.name, each.path) for each in store.all_runs()]:
        held = holder_of(folder)
        if held is not None and held.alive:
            yield name, held.holder


# ------------------------------------------------------------------ jobs


def _cancel_jobs(ledger: Ledger, told: Callable[[str], None]) -> _Jobs:
    """What continues the study is first; what it submits until it has ended is found with the next look."""
    asked: dict[str, str] = {}
    refused: dict[str, str] = {}
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            live = ledger.live()
        except queue.Unreachable as error:
            return _Jobs({}, {job: f"{name}: unknown whether it has ended" for job, name in asked.items()}, str(error))
        new = _by_kind(ledger, {job.array for job in live if job.array not in asked})
        for job, name in new.items():
            asked[job] = name
            try:
                queue.cancel([job])
            except queue.Unreachable as error:  # it may have ended by itself meanwhile: the next look tells
                refused[job] = str(error)
        if new:
            told(f"Cancelled {', '.join(new.values())}; waiting until SLURM has ended them.")
        elif not live or time.monotonic() > deadline:
            break
        time.sleep(SLURM_LOOK_SECONDS)
    still = {job.array: f"{asked[job.array]}: {refused.get(job.array, f'still {job.state}')}" for job in live}
    return _Jobs({job: name for job, name in asked.items() if job not in still}, still)


def _by_kind(ledger: Ledger, ids: Collection[str]) -> dict[str, str]:
    """What continues the study first."""
    said = {"next": "continues the study", "evaluate": "evaluates"}
    found = [each for each in ledger.read() if each.job in ids]
    found.sort(key=lambda each: each.kind != "next")
    return {each.job: f"job {each.job} ({said.get(each.kind) or f'{len(each.runs)} runs'})" for each in found}


# ------------------------------------------------------------------ processes


def _end(holder: Holder, told: Callable[[str], None]) -> str | None:
    """Asks a process to end and waits until it is gone; why it is not."""
    if not is_here(holder):
        return f"it runs on {holder.host}, not here: end it there (kill {holder.pid}, or `tunelab cancel` there)"
    try:
        if not _alive(holder):
            return None
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "it is another user's"
    told(f"Asked process {holder.pid} to end; waiting until what runs has written its checkpoint.")
    deadline = time.monotonic() + WAIT_SECONDS
    while _alive(holder):
        if time.monotonic() > deadline:
            return f"it has not ended within {WAIT_SECONDS:.0f} s; `kill -9 {holder.pid}` ends it at once"
        time.sleep(LOOK_SECONDS)
    return None


def _alive(holder: Holder) -> bool:
    """The same process, not another one that got its number."""
    return process_start(holder.pid) == holder.start
