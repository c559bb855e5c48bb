"""The configuration of one run, cut from its study: what run.json holds. Frozen, unknown keys refused."""

from __future__ import annotations

import json
from typing import Any

from pydantic import PositiveInt

from tunelab.config.launch import Ranks
from tunelab.config.schema import (
    BatchSettings,
    Budget,
    Checkpoint,
    DataSettings,
    Evaluation,
    Generation,
    Loss,
    ModelSource,
    Optimizer,
    Products,
    Schedule,
    Section,
    Validation,
    Weights,
)


class ParentRun(Section):
    """A finished run that another builds on."""

    id: str
    method: dict[str, Any]
    """name, label and its own fields, as in its own run.json."""


class RunBatch(BatchSettings):
    max_tokens: PositiveInt = 4096  # pyright: ignore[reportIncompatibleVariableOverride]
    """As `BatchSettings`, with a number for auto."""


class RunConfig(Section):
    """One run, whole: what `run.json` holds and a worker executes."""

    id: str
    backend: str
    task: str
    """The task's name."""
    task_options: dict[str, Any]
    """The task entry as planned; paths absolute."""
    seed: int
    method: dict[str, Any]
    """name, label, and the method's own fields with defaults; only name and label for the base."""
    parents: tuple[ParentRun, ...] = ()
    """The runs it is made of, in the order in which its method names them; they lie beside its own folder."""
    model: ModelSource
    model_revision: str
    """Hub commit, or sha256 of the local or embedded files."""
    data_revision: str
    """The task's fingerprint."""
    budget: Budget
    batch: RunBatch
    data: DataSettings
    precision: Products
    weights: Weights = "fp32"
    threads: int
    ranks: Ranks = Ranks()
    activation_checkpointing: bool
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    validation: Validation
    generation: Generation
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoint

    @property
    def unsaid(self) -> set[str]:
        """Settings younger than finished studies, where they are at their default: ids leave them out."""
        return {name for name in ("parents", "weights") if getattr(self, name) == type(self).model_fields[name].default}

    def leave_out_younger(self, facts: dict[str, Any]) -> None:
        """The same of settings within sections."""
        for section, name in (("data", "special_tokens"), ("validation", "keep"), ("model", "tokens")):
            own = getattr(self, section)
            if getattr(own, name) == type(own).model_fields[name].default:
                facts[section].pop(name)

    @classmethod
    def from_run_json(cls, text: str | bytes) -> RunConfig:
        """What run.json says of the run; where it ran (`provenance`) stands in the same file and is left out."""
        facts = json.loads(text)
        facts.pop("provenance", None)
        return cls.model_validate(facts)
