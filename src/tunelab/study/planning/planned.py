"""What a checked study is: its methods and tasks as objects, and what one run is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

from tunelab.backend_contract import Backend
from tunelab.config.read import ReadStudy
from tunelab.config.schema import Products, StudyConfig
from tunelab.contracts import Method, Metric, Task

BASE = {"name": "base", "label": "base"}
"""The untouched base model, which is always a row, as run.json names its method."""


class PlannedMethod(NamedTuple):
    name: str
    label: str
    method: Method
    """With the first learning rate."""
    learning_rates: tuple[float | None, ...]
    """More than one is a search: each is a run of its own on the first seed. (None,): it does not train."""

    def fields(self, learning_rate: float | None) -> dict[str, Any]:
        """The method of one run, as run.json has it."""
        options = self.method.model_dump(mode="json")
        return {"name": self.name, "label": self.label, **options, "learning_rate": learning_rate}

    def options(self) -> dict[str, Any]:
        """The study's entry with every default filled in."""
        rates = list(self.learning_rates)
        return self.method.model_dump(mode="json") | {"learning_rate": rates if len(rates) > 1 else rates[0]}


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
