"""What a report is about: the runs of the present study, as planned. Older runs on disk are not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

BASE = "base"
"""The label of the untouched base model's row."""

Role = Literal["base", "run", "candidate"]


class RunEntry(NamedTuple):
    """One planned run. It may be finished, failed or not there yet: its folder tells."""

    id: str
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


class StudyRuns(NamedTuple):
    """One study on disk."""

    name: str
    folder: Path
    """OUT: the runs lie in `folder/runs/<run id>/`."""
    runs: tuple[RunEntry, ...]
