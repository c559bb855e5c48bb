"""The mirror of a study in one tracker: `python -m tunelab.launch.tracking.mirror RESULTS NAME`, a process of its own.

It reads the records of runs while they grow and tells the tracker. When standard input ends it reads them a last time
and ends itself, at the latest after LAST_SECONDS: so it does after `tunelab run` was killed, too. With --patient it
reads them once, and has that limit only where who waits for it is killed. Exit status 1: the tracker raised something;
problem.txt has it in a line, and log.txt whole.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tunelab.entries import Attempt
from tunelab.errors import RunBusy, TunelabError
from tunelab.launch.tracking.growing import Growing
from tunelab.launch.tracking.sent import Sent, TrackerFolder
from tunelab.launch.tracking.told import (
    STEP,
    VALIDATION,
    Clock,
    EndingTold,
    RunTold,
    ending_told,
    lines_told,
    merged,
    run_told,
)  # fmt: skip
from tunelab.ownership import own
from tunelab.study.planning.plan import tracker_of
from tunelab.study.store import RunFolder, Store
from tunelab.tracker_contract import Ending, Point, Tracker

SECONDS = 1.0
"""Between two looks."""
LAST_SECONDS = 60
"""For the last look, where nobody waits for it."""
LONGEST = 200
"""Characters of a problem; the log has it whole."""
UNFINISHED = "not everything was sent when the study ended"
"""The problem, until it is solved."""


class New(NamedTuple):
    """What a look at a run found."""

    points: list[Point]
    sent: Sent
    """Once the points are."""
    more: bool
    """There may be more lines: the files are read a piece at a time."""


class RunMirror:
    """One run in one tracker."""

    def __init__(self, folder: RunFolder, study: str, sent: Sent, tracker: Callable[[], Tracker]) -> None:
        """`tracker`: made when there is something to tell."""
        self.folder, self.study, self.sent, self._tracker = folder, study, sent, tracker
        self._steps, self._validations = Growing(folder.path / "steps.jsonl"), Growing(folder.path / "validation.jsonl")
        self._waiting: list[Point] = []
        """Of validation, beyond the last step that was read: they go with their step."""
        self._clock: Clock | None = None
        self._last_step = 0
        self._open = False

    def look(self, *, last: bool) -> bool:
        """Send what is new; whether anything was. `last`: nothing more will come."""
        before = self.sent
        while self._looks_again(last=last):
            pass
        return self.sent != before

    def _looks_again(self, *, last: bool) -> bool:
        ending = ending_told(self.folder, self._last_step)  # first: what the run wrote before it is then read after it
        attempts = self._attempts()
        try:
            told = run_told(self.folder, self.study, attempts)
        except (OSError, ValueError, KeyError):
            return False  # planned and not started yet, or of another version
        anew = bool(self.sent.first) and self.sent.first != told.first
        if anew:
            self._forget()
        new = self._new(told, attempts, over=last or ending is not None)
        ends = not new.points and not new.more and self._ends(ending, last=last)
        if not new.points and not ends:
            return new.more
        if not self._open:
            self._open = True
            if not self._tracker().begin(told.run, anew=anew) and (self.sent.step or self.sent.validation):
                self._forget()
                return True
        if ends:
            self._end(told, ending)
            return False
        self._tracker().send(told.run.id, new.points)
        self.sent = new.sent
        return True

    def _ends(self, ending: EndingTold | None, *, last: bool) -> bool:
        """Whether the end is still to be told; that of a run without one, only where it is open."""
        return self.sent.ending != ending.digest if ending is not None else last and self._open

    def _end(self, told: RunTold, ending: EndingTold | None) -> None:
        held = self.folder.held()
        status = "running" if held is not None and held.alive else "stopped"
        without = Ending(status, self._last_step, self._clock.now if self._clock else told.run.began, {})
        self._tracker().end(told.run.id, without if ending is None else ending.ending)
        self._open = False
        self.sent = self.sent.model_copy(update={"first": told.first, "ending": ending.digest if ending else ""})

    def _forget(self) -> None:
        """All of it is sent, from the first line."""
        self.sent = Sent()
        self._steps.again()
        self._validations.again()
        self._waiting.clear()

    def _new(self, told: RunTold, attempts: list[Attempt], *, over: bool) -> New:
        """What was not sent yet. Steps are read before validations, and no validation goes before its step."""
        texts, first = self._steps.lines()
        if first or self._clock is None:
            self._clock = Clock(told.run.began)
        steps = []
        for line in lines_told(texts, STEP):
            when = self._clock.step(line.step, line.seconds, attempts)
            self._last_step = line.step
            if line.step > self.sent.step:
                steps.append(Point(line.step, when, line.values))
        validations, more = self._ready(over=over and not texts), bool(texts)
        whens = {point.step: point.when for point in steps}
        validations = [point._replace(when=whens.get(point.step, point.when)) for point in validations]
        sent = Sent(
            first=told.first,
            step=max([self.sent.step, *(point.step for point in steps)]),
            validation=max([self.sent.validation, *(point.step for point in validations)]),
        )
        return New(merged(steps, validations), sent, more)

    def _ready(self, *, over: bool) -> list[Point]:
        """Validations whose step was read; with `over` all."""
        assert self._clock is not None
        texts, first = self._validations.lines()
        if first:
            self._waiting.clear()
        lines = lines_told(texts, VALIDATION)
        self._waiting += [Point(each.step, self._clock.now, each.values) for each in lines]
        ready = [point for point in self._waiting if over or point.step <= self._last_step]
        self._waiting = [point for point in self._waiting if point not in ready]
        return [point for point in ready if point.step > self.sent.validation]

    def _attempts(self) -> list[Attempt]:
        try:
            return self.folder.attempts()
        except ValueError:  # of another version
            return []


class Mirror:
    """All runs of a results folder in one tracker."""

    def __init__(self, place: TrackerFolder, study: str, tracker: Callable[[], Tracker]) -> None:
        self._place, self._study = place, study
        self._store, self._make = Store(place.results), tracker
        self._tracker: Tracker | None = None
        self._sent = place.read_sent()
        self._runs: dict[str, RunMirror] = {}

    def look(self, *, last: bool = False) -> None:
        """At every run: those that have been planned meanwhile, too."""
        changed, written = False, time.monotonic()
        try:
            for folder in self._store.all_runs():
                name = folder.path.name
                sent = self._sent.get(name, Sent())
                run = self._runs.setdefault(name, RunMirror(folder, self._study, sent, self._made))
                changed |= run.look(last=last)
                self._sent[name] = run.sent
                if changed and time.monotonic() - written > SECONDS:
                    self._place.write_sent(self._sent)
                    changed, written = False, time.monotonic()
        finally:
            self._sent |= {name: run.sent for name, run in self._runs.items()}
            if changed:
                self._place.write_sent(self._sent)

    def close(self) -> None:
        if self._tracker is not None:
            self._tracker.close()

    def _made(self) -> Tracker:
        if self._tracker is None:
            self._tracker = self._make()
        return self._tracker


def mirror(mirrored: Mirror, *, is_over: Callable[[], bool], wait: Callable[[], object]) -> None:
    """Until nothing more will come.

    Args:
        is_over: asked before each look, so that the last one sees everything.
        wait: between two looks.
    """
    while not (last := is_over()):
        mirrored.look()
        wait()
    mirrored.look(last=last)
    mirrored.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("name")
    parser.add_argument("study")
    parser.add_argument("--patient", action="store_true", help="look once, as long as it takes")
    asked = parser.parse_args()
    place, over = TrackerFolder(asked.results, asked.name), threading.Event()
    ended = threading.Thread(target=_until_input_ends, args=(place, over), daemon=True)
    try:
        ended.start()
        if asked.patient:
            over.set()
        with ExitStack() as held:
            _hold(place, held, over, patient=asked.patient)
            mirrored = Mirror(place, asked.study, lambda: tracker_of(asked.name)(place.path, asked.study))
            mirror(mirrored, is_over=over.is_set, wait=lambda: over.wait(SECONDS))
            place.write_problem("")
        return 0
    except BaseException as error:
        traceback.print_exc()
        name = "" if isinstance(error, TunelabError) else f"{type(error).__name__}: "
        with contextlib.suppress(OSError):
            place.write_problem(_line(f"{name}{error}"))
        return 1


def _line(text: str) -> str:
    whole = " ".join(text.split())
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"


def _hold(place: TrackerFolder, held: ExitStack, over: threading.Event, *, patient: bool) -> None:
    """Be the only mirror. That of a study which was killed looks a last time before it ends: it is waited for.

    Raises:
        RunBusy: another one is, and somebody waits for this one, or nothing more will come.
    """
    while True:
        try:
            held.enter_context(own(place.path))
            return
        except RunBusy:
            if patient or over.wait(SECONDS):
                raise


def _until_input_ends(place: TrackerFolder, over: threading.Event) -> None:
    """In a thread, so that a tracker which hangs hinders nothing here."""
    sys.stdin.read()
    with contextlib.suppress(OSError):
        place.write_problem(UNFINISHED)
    if hasattr(signal, "alarm"):
        signal.alarm(LAST_SECONDS)  # not caught: it ends the process
    over.set()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a tracker's own threads are not waited for: what it has got, it has kept
