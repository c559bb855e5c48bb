"""Seconds, peak memory and energy by phase, of one device and of all. Entering a phase inside another pauses the outer
one: what validation or a checkpoint costs never counts as training.

On Linux the kernel's high-water mark of resident memory is reset at each phase's start (/proc/self/clear_refs);
where that is not allowed a thread samples the resident memory. CUDA back ends bring a probe of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tunelab.backend_contract import Memory
from tunelab.records import PhaseCost
from tunelab.training.energy.counters import EnergyMeter, added

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


class ResidentMemory(Memory):
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


class _Taken(NamedTuple):
    """By one phase so far."""

    seconds: float = 0.0
    peak: float | None = None
    peak_all: float | None = None
    device_seconds: float = 0.0
    reserved: float | None = None
    rapl: float | None = 0.0
    nvml: float | None = 0.0
    """Joules. None: not known."""

    @property
    def is_spread(self) -> bool:
        """Whether it was over several devices at any time."""
        return self.device_seconds != self.seconds

    def with_peaks(self, *others: tuple[float | None, float | None]) -> _Taken:
        """The highest; in all only where every time that has a peak has one in all."""
        pairs = [pair for pair in ((self.peak, self.peak_all), *others) if pair != (None, None)]
        peaks = [peak for peak, _ in pairs if peak is not None]
        in_all = [peak for _, peak in pairs if peak is not None]
        complete = len(in_all) == len(pairs)
        return self._replace(peak=max(peaks, default=None), peak_all=max(in_all, default=None) if complete else None)


class Meter:
    """Costs of the phases of one run; survives a restart through `state`, also over another number of devices."""

    def __init__(
        self,
        memory: Memory,
        *,
        energy: EnergyMeter | None = None,
        num_devices: int = 1,
        on_phase: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`memory` and `energy` know all of the `num_devices`."""
        self.memory = memory
        self._energy = energy or EnergyMeter()
        self._num_devices = num_devices
        self._on_phase = on_phase
        self._costs: dict[str, _Taken] = {}
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
            name: PhaseCost(
                seconds=taken.seconds,
                peak_gib=taken.peak,
                peak_method=self.memory.method,
                peak_all_gib=taken.peak_all if taken.is_spread else None,
                device_seconds=taken.device_seconds if taken.is_spread else None,
                peak_reserved_gib=taken.reserved,
                rapl_joules=taken.rapl,
                nvml_joules=taken.nvml,
            )
            for name, taken in self._costs.items()
        }

    def state(self) -> dict[str, list[float | None]]:
        """Costs so far, the open phase's included."""
        if self._open:
            self._close()
            self._start()
        return {name: list(cost) for name, cost in self._costs.items()}

    def restore(self, state: dict[str, list[float | None]]) -> None:
        """Take up the costs of an interrupted run; of a phase done again here, in part or whole, the larger."""
        for name, cost in state.items():
            if len(cost) == 2:  # of an older version, which knew one device
                cost = [*cost, cost[1], cost[0]]
            seconds, peak, peak_all, device_seconds, reserved, rapl, nvml = [*cost, *[None] * (7 - len(cost))]
            assert seconds is not None and device_seconds is not None, "neither can be missing"
            before = _Taken(seconds, peak, peak_all, device_seconds, rapl=rapl, nvml=nvml)
            again = self._costs.get(name, _Taken())
            longer = before if before.seconds >= again.seconds else again
            longer = longer._replace(reserved=_larger(reserved, again.reserved))
            self._costs[name] = longer.with_peaks((peak, peak_all), (again.peak, again.peak_all))

    def _start(self) -> None:
        self.memory.reset()
        self._energy.start()
        self._since = time.perf_counter()

    def _close(self) -> None:
        taken = self._costs.get(self._open[-1], _Taken())
        peak = self.memory.peak_gib()  # waits for the device: before the clock is read
        peak_all = peak if self._num_devices == 1 else self.memory.peak_all_gib()
        reserved = self.memory.peak_reserved_gib()
        joules = self._energy.stop()
        seconds = time.perf_counter() - self._since
        self._costs[self._open[-1]] = taken.with_peaks((peak, peak_all))._replace(
            seconds=taken.seconds + seconds,
            device_seconds=taken.device_seconds + seconds * self._num_devices,
            reserved=_larger(taken.reserved, reserved),
            rapl=added(taken.rapl, joules.get("rapl")),
            nvml=added(taken.nvml, joules.get("nvml")),
        )


def _larger(*peaks: float | None) -> float | None:
    """Of those that there are."""
    return max((peak for peak in peaks if peak is not None), default=None)
