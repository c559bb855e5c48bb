"""What a checked study is: its methods and tasks as objects, and what one run is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunelab.backend_contract import Backend
from tunelab.config.read import ReadStudy
from tunelab.config.schema import Products, StudyConfig
from tunelab.contracts import Method, Metric, Task

BASE = {"name": "base", "label": "base"}
"""The untouched base model, which is always a row, as run.json names its method."""


class Candidate(NamedTuple):
    """One of the settings that a search chooses from; of a method without a search the only one."""

    method: Method
    rung: int | None = None
    """Of `learning_rate: auto`: half decades from the documented rate."""
    setting: dict[str, Any] = {}
    """Its values of the searched fields beside the learning rate."""


class PlannedMethod(NamedTuple):
    name: str
    label: str
    candidates: tuple[Candidate, ...]
    """More than one is a search: each is a run of its own on the first seed."""
    searched: dict[str, Any] = {}
    """Fields that a search is over, and what the study says of them: `auto`, or a list."""
    num_left_out: int = 0
    """Combinations of those that `search.candidates` leaves no place for."""

    @property
    def method(self) -> Method:
        """The first candidate."""
        return self.candidates[0].method

    @property
    def is_auto(self) -> bool:
        return self.candidates[0].rung is not None

    @property
    def learning_rates(self) -> tuple[float | None, ...]:
        """(None,): it does not train."""
        return tuple(dict.fromkeys(each.method.learning_rate for each in self.candidates))

    def fields(self, candidate: Candidate) -> dict[str, Any]:
        """The method of one run, as run.json has it."""
        return {"name": self.name, "label": self.label, **candidate.method.model_dump(mode="json")}

    def options(self) -> dict[str, Any]:
        """The study's entry with every default filled in."""
        return self.method.model_dump(mode="json") | self.searched


class PlannedTask(NamedTuple):
    name: str
    options: dict[str, Any]
    task: Task
    metrics: dict[str, Metric]


class Plan(NamedTuple):
    """A study with every name turned into an object."""

    study: StudyConfig
    methods: tuple[PlannedMethod, ...]
    tasks: tuple[PlannedTask, ...]
    read: ReadStudy
    """Where each value stands, for messages of later checks."""

    def __repr__(self) -> str:
        """Short: whoever asks for a plan at a prompt wants to see which study it is."""
        methods = ", ".join(method.label for method in self.methods)
        tasks = ", ".join(task.name for task in self.tasks)
        seeds = ", ".join(map(str, self.study.seeds))
        return f"Plan({self.study.name}: {methods} x {tasks} x seeds {seeds} on {self.study.model.name})"


class RunParts(NamedTuple):
    """The objects that one run's configuration names."""

    backend: Backend
    task: Task
    metrics: dict[str, Metric]
    method: Method | None


class Revisions(NamedTuple):
    """What only the machine that executes knows; empty while planning."""

    model: str = ""
    tasks: dict[str, str] = {}
    precision: Products = "fp32"
    threads: int = 1
    max_tokens: int = 4096
    """Of a micro-batch, where the study leaves it to the machine."""
