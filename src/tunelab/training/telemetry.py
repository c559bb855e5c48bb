"""Seconds and peak memory by phase. Entering a phase inside another pauses the outer one: what validation or a
checkpoint costs never counts as training.

On Linux the kernel's high-water mark of resident memory is reset at each phase's start (/proc/self/clear_refs);
where that is not allowed a thread samples the resident memory. CUDA back ends bring a probe of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tunelab.backend_contract import Memory
from tunelab.records import PhaseCost

GIB = 1024**3
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


def _status_gib(field: str) -> float | None:
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024 / GIB
    except OSError:
        pass  # not Linux: memory is reported as missing
    return None


class ResidentMemory:
    """Resident memory of this process."""

    def __init__(self) -> None:
        self._highest: float | None = None
        self._stop = threading.Event()
        self.method = "vmhwm-reset" if self._clear() else "sampled"
        if self.method == "sampled":
            threading.Thread(target=self._sample, daemon=True).start()

    def reset(self) -> None:
        if self.method == "sampled":
            self._highest = self.current_gib()
        else:
            self._clear()

    def peak_gib(self) -> float | None:
        return self._highest if self.method == "sampled" else _status_gib("VmHWM:")

    def current_gib(self) -> float | None:
        return _status_gib("VmRSS:")

    def _clear(self) -> bool:
        try:
            CLEAR_REFS.write_text("5")
        except OSError:
            return False
        return True

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            current = self.current_gib()
            if current is not None:
                self._highest = max(self._highest or 0.0, current)


class Meter:
    """Costs of the phases of one run; survives a restart through `state`."""

    def __init__(self, memory: Memory, *, on_phase: Callable[[str], None] = lambda name: None) -> None:
        self.memory = memory
        self._on_phase = on_phase
        self._costs: dict[str, tuple[float, float | None]] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if self._open:
            self._close()
        self._open.append(name)
        self._on_phase(name)
        self._start()
        try:
            yield
        finally:
            self._close()
            self._open.pop()
            if self._open:
                self._on_phase(self._open[-1])
                self._start()

    def costs(self) -> dict[str, PhaseCost]:
        return {
            name: PhaseCost(seconds=seconds, peak_gib=peak, peak_method=self.memory.method)
            for name, (seconds, peak) in self._costs.items()
        }

    def state(self) -> dict[str, list[float | None]]:
        """Costs so far, the open phase's included."""
        if self._open:
            self._close()
            self._start()
        return {name: list(cost) for name, cost in self._costs.items()}

    def restore(self, state: dict[str, list[float | None]]) -> None:
        """Take up the costs of an interrupted run; of a phase done again here, in part or whole, the larger."""
        for name, (seconds, peak) in state.items():
            assert seconds is not None, "a peak alone can be missing"
            again, peak_again = self._costs.get(name, (0.0, None))
            peaks = [value for value in (peak, peak_again) if value is not None]
            self._costs[name] = (max(seconds, again), max(peaks, default=None))

    def _start(self) -> None:
        self.memory.reset()
        self._since = time.perf_counter()

    def _close(self) -> None:
        seconds, peak = self._costs.get(self._open[-1], (0.0, None))
        measured = self.memory.peak_gib()
        highest = max((value for value in (peak, measured) if value is not None), default=None)
        self._costs[self._open[-1]] = (seconds + time.perf_counter() - self._since, highest)
