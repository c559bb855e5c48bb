"""Joules between two moments, from counters that only grow: each begins again from 0 at its end, or never.

A counter that cannot be read, or that went back for another reason (its driver was loaded again, the machine slept),
makes the energy unknown, never smaller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

EnergyMethod = str  # rapl, nvml
Joules = Mapping[EnergyMethod, float | None]
"""None: not known."""
LOOK_SECONDS = 20.0
"""How often a counter that begins again is read: the smallest is full after 65 kJ, two minutes of a large processor."""
MOST_WATTS = 1000.0
"""No processor takes more: what would be above it is no counter that began again."""
COARSE_JOULES = 10.0
"""A counter moves in steps: so much more than that power may appear at once."""


class Counter(NamedTuple):
    """One counter of the machine."""

    joules: Callable[[], float | None]
    """Since some time in the past; None: it cannot be read (now)."""
    range_joules: float | None = None
    """Where it begins again from 0; None: it never does."""


class EnergyMeter:
    """What counters have counted between `start` and `stop`, added up for each method; no counters cost nothing."""

    def __init__(self, counters: Mapping[EnergyMethod, Sequence[Counter]] | None = None) -> None:
        self._counters = {method: tuple(each) for method, each in (counters or {}).items() if each}
        self._begins_again = any(one.range_joules for each in self._counters.values() for one in each)
        self._lock = threading.Lock()
        self._ended: threading.Event | None = None
        self._taken: dict[EnergyMethod, float | None] = {}
        self._last: dict[EnergyMethod, list[float | None]] = {}
        self._since = 0.0

    def start(self) -> None:
        if not self._counters:
            return
        with self._lock:
            self._taken = dict.fromkeys(self._counters, 0.0)
            self._last = {method: [one.joules() for one in each] for method, each in self._counters.items()}
            self._since = time.perf_counter()
        if self._begins_again:
            self._ended = threading.Event()
            threading.Thread(target=self._look_on, args=(self._ended,), daemon=True).start()

    def stop(self) -> Joules:
        """Since `start`. Empty: nothing counts here."""
        if self._ended is not None:
            self._ended.set()
        self.look()
        return self._taken

    def look(self) -> None:
        """Take what was counted since the last look: often enough that no counter is full twice in between."""
        with self._lock:
            now = time.perf_counter()
            seconds, self._since = now - self._since, now
            for method, counters in self._counters.items():
                self._taken[method] = self._further(method, counters, seconds)

    def _further(self, method: EnergyMethod, counters: Sequence[Counter], seconds: float) -> float | None:
        read = [one.joules() for one in counters]
        before, self._last[method] = self._last[method], read
        further = [grown(*each, seconds=seconds) for each in zip(before, read, counters, strict=True)]
        return added(self._taken[method], *further)

    def _look_on(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_SECONDS):
            self.look()


def grown(before: float | None, after: float | None, counter: Counter, *, seconds: float) -> float | None:
    """Joules by which a counter has grown; None: that cannot be told."""
    if before is None or after is None:
        return None
    if counter.range_joules is None:
        return after - before if after >= before else None
    most = MOST_WATTS * seconds + COARSE_JOULES
    if most > counter.range_joules:  # it may have been full more than once
        return None
    further = after - before if after >= before else after + counter.range_joules - before
    return further if 0 <= further <= most else None


def added(*joules: float | None) -> float | None:
    """Their sum. None: one of them is not known."""
    known = [each for each in joules if each is not None]
    return sum(known) if len(known) == len(joules) else None
