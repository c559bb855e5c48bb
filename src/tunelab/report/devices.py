"""Over how many devices a run was trained, in words, and whether that was the same all the time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunelab.records import PhaseCost, RunResult


class Spread(NamedTuple):
    """Of a training over devices."""

    num_devices: int
    num_nodes: int = 1
    sharded: bool = False

    @property
    def text(self) -> str:
        """'4 devices (2 nodes, sharded)'."""
        devices = "1 device" if self.num_devices == 1 else f"{self.num_devices} devices"
        nodes = f"{self.num_nodes} nodes" if self.num_nodes > 1 else ""
        more = ", ".join(filter(None, (nodes, "sharded" if self.sharded else "")))
        return f"{devices} ({more})" if more else devices


def spread_of(result: RunResult) -> Spread:
    return Spread(result.num_devices, result.num_nodes, result.sharded)


def either(spreads: Iterable[Spread]) -> str:
    """'1 device / 4 devices'; empty of none."""
    return " / ".join(dict.fromkeys(spread.text for spread in spreads))


def is_uneven(result: RunResult) -> bool:
    """Whether its training went on over another number of devices, or is that of several runs with different ones."""
    train = result.phases.get("train")
    if train is None:
        return False
    return not math.isclose(train.seconds_in_all, train.seconds * result.num_devices, rel_tol=1e-6)


def highest_in_all(costs: Sequence[PhaseCost]) -> float | None:
    """Peak of all devices. None: in one of them it was not measured, and the others' may be lower."""
    peaks = [cost.peak_in_all_gib for cost in costs if cost.peak_gib is not None]
    known = [peak for peak in peaks if peak is not None]
    return max(known) if known and len(known) == len(peaks) else None
