"""Signals at random points: a study of every method is disturbed again and again, called again until it is finished,
and must then equal one that was left in peace.

A point is a phase that is waited for in the run at work or in one of the next, some milliseconds into it, and a signal.
Everything is drawn from the seed; how far a process has come by a given millisecond is the machine's to say.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from compared import differences, left_behind
from studies import METHODS, Call, Place, outliving, study_text

from tunelab.study.store import RunFolder

PHASES = ("start", "load", "train", "checkpoint", "save", "evaluate", "result", "report")
LATER = {"start": 4.0, "load": 1.5, "train": 0.3, "evaluate": 0.2, "report": 2.0}
"""Seconds: a point lies at most so far into its phase; in those that are not here, nearly at once."""
PER_LAP = 20
"""Points between the first call and the end of one study."""
LOOKS_PER_SECOND = 500
SIGTERM_SECONDS, STOPPED_SECONDS = 70.0, 2.0
WRITING = "writing the report"


def to_group(call: Call, number: int) -> None:
    os.killpg(call.pid, number)


def kill_group(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    to_group(call, signal.SIGKILL)


def kill_worker(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    """Where none is at work: the parent."""
    held = None if run is None else run.held()
    os.kill(call.pid if held is None else held.holder.pid, signal.SIGKILL)


def kill_parent(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    os.kill(call.pid, signal.SIGKILL)


def terminate(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    os.kill(call.pid, signal.SIGTERM)


def interrupt_twice(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    """As Ctrl-C does: to the whole group."""
    to_group(call, signal.SIGINT)
    time.sleep(drawn.uniform(0.0, 1.0))
    to_group(call, signal.SIGINT)


def hang_up(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    to_group(call, signal.SIGHUP)


def stop_and_continue(call: Call, run: RunFolder | None, drawn: random.Random) -> None:
    to_group(call, signal.SIGSTOP)
    time.sleep(drawn.uniform(0.1, STOPPED_SECONDS))
    to_group(call, signal.SIGCONT)


class Signal(NamedTuple):
    send: Callable[[Call, RunFolder | None, random.Random], None]
    ends: bool
    """Whether the call ends by it."""


SIGNALS = {
    "SIGKILL to the group": Signal(kill_group, True),
    "SIGKILL to the worker": Signal(kill_worker, False),
    "SIGKILL to the parent": Signal(kill_parent, True),
    "SIGTERM": Signal(terminate, True),
    "SIGINT twice": Signal(interrupt_twice, True),
    "SIGHUP": Signal(hang_up, True),
    "SIGSTOP, SIGCONT": Signal(stop_and_continue, False),
}


class Point(NamedTuple):
    signal: str
    phase: str
    method: str
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.signal} in {self.phase} of {self.method}"


def at_work(out: Path) -> RunFolder | None:
    """The run that a living process executes."""
    for owner in out.glob("runs/*/owner-*.json"):
        folder = RunFolder(owner.parent)
        held = folder.held()
        if held is not None and held.alive:
            return folder
    return None


def phase_of(call: Call, run: RunFolder | None) -> str:
    if run is None:
        return "report" if WRITING in call.said else "start"
    if run.has_result:
        return "result"
    if run.texts.exists():
        return "evaluate"
    if (run.path / ".model").exists() or run.model.exists():
        return "save"
    if any(run.checkpoint.glob(".writing-*")):
        return "checkpoint"
    steps = run.path / "steps.jsonl"
    return "train" if steps.exists() and steps.stat().st_size else "load"


def method_of(run: RunFolder | None) -> str:
    return "no run" if run is None else run.path.name.partition("--")[0]


def waited_for(phase: str, call: Call, out: Path, *, later_runs: int) -> None:
    """Until that phase begins, or the call has nothing more to do."""
    seen: set[Path] = set()
    while call.alive:
        run = at_work(out)
        now = phase_of(call, run)
        if run is not None:
            seen.add(run.path)
        if now == "report" or (now == phase and (run is None or len(seen) > later_runs)):
            return
        time.sleep(1 / LOOKS_PER_SECOND)


def point(call: Call, place: Place, drawn: random.Random, *, phase: str, name: str) -> Point | None:
    """None: the call has ended before."""
    waited_for(phase, call, place.out, later_runs=drawn.choice((0, 1, 1)))
    time.sleep(drawn.uniform(0.0, LATER.get(phase, 0.01)))
    run = at_work(place.out)
    if not call.alive:
        return None
    here, known = Point(name, phase_of(call, run), method_of(run)), SIGNALS[name]
    try:
        known.send(call, run, drawn)
    except ProcessLookupError:
        return None
    faults = []
    if known.ends:
        if call.wait(SIGTERM_SECONDS) is None:
            faults.append(f"it had not ended {SIGTERM_SECONDS:g} s later")
        faults += [f"process {pid} outlives it" for pid in outliving(place.folder)]
    if "Traceback" in call.said:
        faults.append(f"a traceback: {call.said[-2000:]}")
    return here._replace(faults=tuple(faults))


class Lap(NamedTuple):
    points: list[Point]
    faults: list[str]
    """Of the finished study."""


def lap(place: Place, undisturbed: Path, drawn: random.Random, points: Iterator[tuple[str, str]]) -> Lap:
    """One study to its end, disturbed at these points."""
    found: list[Point] = []
    call = place.started()
    for phase, name in points:
        if not call.alive:
            call = place.started()
        reached = point(call, place, drawn, phase=phase, name=name)
        if reached is not None:
            found.append(reached)
            print(f"  {reached}{'; '.join(('', *reached.faults))}", flush=True)
    call.wait()
    call = place.ran()
    faults = [] if call.process.returncode == 0 else [f"status {call.process.returncode}: {call.said[-2000:]}"]
    faults += [f"process {pid} outlives it" for pid in outliving(place.folder)]
    return Lap(found, [*faults, *differences(place.out, undisturbed), *left_behind(place.out)])


def drawn_points(drawn: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """(phase, signal) each; those of the report last, since runs are over then."""
    names = [name for _ in range(count // len(SIGNALS) + 1) for name in drawn.sample(sorted(SIGNALS), len(SIGNALS))]
    phases = sorted((drawn.choice(PHASES) for _ in range(count)), key="report".__eq__)
    return iter(list(zip(phases, names, strict=False)))


def laps(work: Path, *, points: int, seed: int, methods: tuple[str, ...] = tuple(METHODS)) -> Iterator[Lap]:
    """Studies until there were so many points."""
    text, drawn = study_text(methods), random.Random(seed)
    undisturbed = Place(work / "undisturbed", text)
    call = undisturbed.ran()
    if call.process.returncode != 0:
        raise RuntimeError(f"the study fails undisturbed: {call.said}")
    done, number = 0, 0
    while done < points:
        number += 1
        place = Place(work / f"lap-{number}", text)
        reached = lap(place, undisturbed.out, drawn, drawn_points(drawn, min(PER_LAP, points - done)))
        done += max(1, len(reached.points))
        yield reached


def by_kind(found: list[Lap]) -> dict[str, tuple[int, int]]:
    """Signal -> points, and those of them that held: without a fault of their own, in a lap that ended equal."""
    tried = Counter(each.signal for one in found for each in one.points)
    held = Counter(each.signal for one in found for each in one.points if not each.faults and not one.faults)
    return {name: (tried[name], held[name]) for name in SIGNALS if tried[name]}
