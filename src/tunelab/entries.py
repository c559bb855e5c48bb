"""What a report is about: the planned runs of a study, and how it is decided which way to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from tunelab.records import Look

BASE = "base"
"""The label of the untouched base model's row."""

Role = Literal["base", "run", "candidate"]


class RunEntry(NamedTuple):
    """One planned run. It may be finished, failed or not there yet: its folder tells."""

    id: str
    """Empty for a run whose search has not ended."""
    method: str
    """The label: 'base', 'lora', 'lora r=4'."""
    task: str
    seed: int
    backend: str
    learning_rate: float | None
    """None for the base, and for a run whose search has not ended."""
    role: Role
    """`candidate`: a learning rate that was tried and lost. In no average; its cost is reported apart."""
    num_tried: int
    """How many learning rates were tried for this method on this task."""


Cost = Literal["memory", "time", "size", "price"]


class Deciding(NamedTuple):
    """How the way to keep is chosen; see config.schema.Decision."""

    metric: str | None = None
    """None: each task's first."""
    share: float | None = 0.1
    """What a method may lack and still be as good, of the best mean's gain over the base."""
    margin: float | None = None
    """The same in the metric's unit; instead of the share."""
    cost: Cost = "memory"
    price_per_hour: float | None = None


class StudyRuns(NamedTuple):
    """The runs of the present study as the planner lists them. Older runs on disk are not in it."""

    name: str
    folder: Path
    """OUT: the runs lie in `folder/runs/<run id>/`."""
    runs: tuple[RunEntry, ...]
    deciding: Deciding = Deciding()
    looks: tuple[Look, ...] = ()
    """Those that were taken until it was decided; their words stay."""
    level: float | None = None
    """At which words are given now; None: the usual 5 %, or of a study with looks what they left."""
