"""Trains a method on a tiny model through the real loop, without task, store or process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tiny
from tunelab.backend_contract import Session
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import set_storage
from tunelab.contracts import Method
from tunelab.records import StepRecord, ValidationRecord
from tunelab.study.executing.verified import verified_rows
from tunelab.training.loop import Loop, train
from tunelab.training.state import Checkpoints, LoopState
from tunelab.training.step import run_order
from tunelab.training.telemetry import Meter


class Stopped(Exception):
    """Raised by a recorder to end training as a kill would."""


class Records:
    def __init__(self, *, stop_after: int | None = None) -> None:
        self.steps: list[StepRecord] = []
        self.validations: list[ValidationRecord] = []
        self.stop_after = stop_after

    def step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def validation(self, record: ValidationRecord) -> None:
        self.validations.append(record)

    def rewind(self, *, step: int) -> None:
        self.steps = [record for record in self.steps if record.step <= step]
        self.validations = [record for record in self.validations if record.step <= step]

    @property
    def losses(self) -> list[float]:
        return [record.loss for record in self.steps]


class NoMemory:
    method = "none"

    def reset(self) -> None: ...

    def peak_gib(self) -> None:
        return None

    def peak_reserved_gib(self) -> None:
        return None

    def current_gib(self) -> None:
        return None


class Trained(NamedTuple):
    model: Any
    session: Any
    records: Records


def make_session(method: Method, model: Any, **changes: Any) -> TorchSession:
    run = tiny.run_config(**changes)
    attached = method.attach(model, seed=run.seed)
    set_storage(attached, precision=run.precision, weights=run.weights, seed=run.seed)
    return TorchSession(attached, method, run, tiny.Tokenizer(), [])


def run_training(
    method: Method,
    model: Any,
    rows: list,
    *,
    records: Records | None = None,
    folder: Path | None = None,
    validation: list | None = None,
    validation_settings: dict[str, Any] | None = None,
    stop_after: int | None = None,
    over: Callable[[TorchSession], Session] = lambda session: session,
    make: Callable[..., TorchSession] = make_session,
    **changes: Any,
) -> Trained:
    """Train; `validation` are rows; `stop_after` ends it right after that step's record, whatever was going on; `over`
    gives the session that the loop drives."""
    if validation_settings is not None:
        changes["validation"] = validation_settings
    local = make(method, model, **changes)
    session = over(local)
    session.verify(verified_rows(rows))
    records = records or Records()

    def progress(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == stop_after:
            raise Stopped

    run = local.run
    loop = Loop(
        run=run,
        peak_learning_rate=method.learning_rate,
        rows=rows,
        validation_rows=validation or [],
        records=records,
        checkpoints=Checkpoints(folder or Path("/nonexistent-checkpoints"), seconds=run.checkpoint.seconds),
        meter=Meter(NoMemory()),
        progress=progress,
    )
    if folder is None:
        loop = loop._replace(checkpoints=NoCheckpoints())
    if loop.checkpoints.latest() is None:  # as study/executing/execute.py
        with session.alone() as alone:
            method.prepare(alone, run_order(run, rows), run)
        loop.checkpoints.save(LoopState(), session.save)
    train(session, loop)
    return Trained(local.model, session, records)


class NoCheckpoints:
    def due(self) -> bool:
        return False

    def save(self, state: Any, write: Any) -> None: ...

    def latest(self) -> None:
        return None
