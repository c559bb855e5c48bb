"""What a report is about: the planned runs of a study, and how it is decided which way to keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from tunelab.computation.effort import Effort
from tunelab.records import Record, RowSize

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
    """`candidate`: lost a search, or may still; in no average, its cost is apart. Where all failed, all are runs."""
    num_tried: int
    """Candidates for this method on this task; `num_further` of them rungs beyond the ladder of `learning_rate: auto`;
    without `num_left_out` combinations for which `search.candidates` left no place."""
    num_further: int = 0
    num_left_out: int = 0
    setting: tuple[tuple[str, str], ...] = ()
    """Searched fields beside the learning rate, and their values as text; () while a search has not ended."""


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
    currency: str = ""
    watts: float | None = None
    """Of one device."""

    @property
    def rule(self) -> str:
        """Of the margin, as looks keep it."""
        return f"{self.margin!r}" if self.margin is not None else f"{self.share!r} of the gain"


class Look(Record):
    """One look at a study that adds seeds until it is decided: one task on one back end."""

    task: str
    backend: str
    metric: str
    rule: str
    """The study's margin. Looks at another metric or margin, or at other runs, count for nothing."""
    runs: dict[str, tuple[str, ...]]
    """Ids of the finished runs of every method."""
    counted: int
    """Seeds of those that were undecided before it."""
    most: int
    """Seeds at which the whole level is spent."""
    level: float
    """At which words were given."""
    words: dict[str, Literal["as good", "worse", "undecided"]]
    """Of every method that was compared, those of earlier looks included."""
    beaten_base: tuple[str, ...]
    """Methods that were found better than the base."""
    best: str | None
    margin: float | None
    when: str
    """UTC, ISO 8601."""

    def is_of(self, metric: str, rule: str, runs: Mapping[str, Collection[str]]) -> bool:
        """Whether it looked at this metric of runs that are still there."""
        same = all(set(ids) <= set(runs.get(method, ())) for method, ids in self.runs.items())
        return (self.metric, self.rule) == (metric, rule) and same


class Further(Record):
    """Seeds that looks have added to the study's own, for one method."""

    task: str
    backend: str
    method: str
    seeds: tuple[int, ...]


class Looks(Record):
    """looks.json of a study that adds seeds until it is decided."""

    looks: tuple[Look, ...] = ()
    further: tuple[Further, ...] = ()

    def seeds_of(self, task: str, backend: str, method: str) -> tuple[int, ...]:
        """Further ones."""
        cell = (task, backend, method)
        return next((one.seeds for one in self.further if (one.task, one.backend, one.method) == cell), ())


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


class Attempt(Record):
    """One time that a run was executed: a line of attempts.jsonl at its start and one at its end, with one nonce."""

    nonce: str
    host: str
    pid: int
    started: str
    """UTC, ISO 8601."""
    progress: tuple[int, int]
    """Steps and texts that were written down at its start."""
    job: str | None = None
    """Of SLURM."""
    restart: int = 0
    """How often SLURM had started that job again."""
    submission: str | None = None
    """Which call of `tunelab run` submitted it."""
    log: str | None = None
    """Of the job, beside the run's own."""
    ended: str | None = None
    how: Literal["finished", "stopped", "failed"] | None = None
    """None: it has not ended, or was killed."""
    reached: tuple[int, int] | None = None
    """Steps and texts at its end."""


# ------------------------------------------------------------------ memory that was predicted

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


class Efforts(Record):
    """What a run computes, from a trace of one micro-batch. Of a method of several parts, of one of them."""

    rows: tuple[RowSize, ...]
    """Of that micro-batch."""
    padded: bool
    """Whether rows are filled up to the longest."""
    micro_batch: Effort
    """Forward and backward."""
    update: Effort
    first: Effort
    """The first step: what is made once in a while by methods that make it (projections) is made there."""
    losses: Effort
    """The micro-batch without gradients."""


class Forecast(Record):
    """Of one device; its phases' parts are all that is held at the phase's highest moment."""

    device: Device
    load: Parts
    train: Parts
    evaluate: Parts
    save: Parts
    efforts: tuple[Efforts, ...] = ()
    """Of each part of the method, one after the other."""
    seconds: dict[str, float] = {}
    """Of phases, alone on a machine that was measured before."""
    texts: Parts = {}
    """While texts are generated, which is part of the evaluation. A GPU without room for them takes smaller batches and
    no plain copy of the weights, so that they decide nothing there."""
    notes: tuple[str, ...] = ()
    """What was guessed."""

    def parts(self, phase: Phase) -> Parts:
        texts = phase == "evaluate" and self.device == "cpu" and sum(self.texts.values()) > sum(self.evaluate.values())
        return self.texts if texts else getattr(self, phase)

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
