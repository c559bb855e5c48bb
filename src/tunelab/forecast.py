"""The memory that one run will hold on one device, by phase and by what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tunelab.records import Record

Device = Literal["cpu", "cuda"]
Phase = Literal["load", "train", "evaluate", "save"]
PHASES: tuple[Phase, ...] = ("load", "train", "evaluate", "save")
Parts = dict[str, int]
"""Bytes by what they are for."""

FILE = "forecast.json"
"""In a run's folder: what its real rows give (study/foresight/finished.py)."""
PROCESS = "process"
HOLES = "allocator"
"""What an allocator holds from the system and has not given out."""
MIB, GIB = 1024**2, 1024**3
MARKED = 0.15
"""A difference of predicted and measured, as a share of the measured one, from which on a report marks it."""


class Forecast(Record):
    """Of one device; its phases' parts are all that is held at the phase's highest moment."""

    device: Device
    load: Parts
    train: Parts
    evaluate: Parts
    save: Parts
    notes: tuple[str, ...] = ()
    """What was guessed."""

    def parts(self, phase: Phase) -> Parts:
        return getattr(self, phase)

    def total(self, phase: Phase) -> int:
        return sum(self.parts(phase).values())

    @property
    def peak(self) -> int:
        return max(map(self.total, PHASES))

    @property
    def highest(self) -> Phase:
        """The phase of the peak."""
        return max(PHASES, key=self.total)

    def above(self, phase: Phase) -> int:
        """What the phase holds beyond the loaded model and its process."""
        return self.total(phase) - weights(self.load) - self.load.get(PROCESS, 0)


def weights(parts: Mapping[str, int]) -> int:
    """Bytes of all weights among the parts, frozen and trained."""
    return sum(size for name, size in parts.items() if name.startswith("weights"))
