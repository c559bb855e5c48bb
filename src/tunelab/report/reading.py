"""Records on disk -> what one run left. A line that cannot be read is left out and said, never guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from tunelab.config.run import RunConfig
from tunelab.contracts import Metric
from tunelab.entries import FILE, Attempt, Forecast, RunEntry, StudyRuns
from tunelab.records import Divergence, Prediction, Record, RunResult, StepRecord, ValidationRecord

State = Literal["finished", "diverged", "failed", "pending"]
AnyRecord = TypeVar("AnyRecord", bound=Record)


class RunRecords:
    """One planned run and the records in its folder. The long files are read when they are first asked for."""

    def __init__(self, *, entry: RunEntry, folder: Path) -> None:
        self.entry = entry
        self.folder = folder
        self._unread: list[str] = []
        self.error: str | None = None
        """One line; set when the run failed or diverged."""
        self.divergence: Divergence | None = None
        """Of a run whose loss stopped being finite."""
        self._result = self._read_result()
        failure = self._failure()
        if self._result is None and self.error is None:
            self.error = failure
        elif (self.folder / "asked.json").is_file():
            why = "is not whole yet" if failure is None else f"failed ({failure})"
            self._unread.append(f"its evaluation by other settings {why}; shown is the one before")
        self.config = self._config()

    @property
    def state(self) -> State:
        """diverged: an outcome of the search that the run is a candidate of. Any other run that diverged has failed."""
        if self._result is not None:
            return "finished"
        if self.divergence is not None and self.entry.role == "candidate":
            return "diverged"
        return "failed" if self.error is not None else "pending"

    @property
    def result(self) -> RunResult:
        """Of a finished run."""
        assert self._result is not None, f"{self.entry.id} has not finished"
        return self._result

    @property
    def problems(self) -> tuple[str, ...]:
        """What of a finished run could not be read. A run that is not finished may be writing a line right now."""
        if self.state == "finished":
            _ = self.steps, self.validation, self.predictions
            return (*self._unread, *self._missing())
        return tuple(self._unread)

    def _missing(self) -> list[str]:
        """Of what a finished run leaves."""
        trained = {"steps.jsonl": self.result.num_steps, "model": self.result.saved_mib}
        names = ["predictions.jsonl", *(name for name, there in trained.items() if there)]
        return [f"{name} is missing" for name in names if not (self.folder / name).exists()]

    @cached_property
    def steps(self) -> tuple[StepRecord, ...]:
        return self._lines("steps.jsonl", StepRecord)

    @cached_property
    def validation(self) -> tuple[ValidationRecord, ...]:
        return self._lines("validation.jsonl", ValidationRecord)

    @cached_property
    def predictions(self) -> tuple[Prediction, ...]:
        return self._lines("predictions.jsonl", Prediction)

    @cached_property
    def general(self) -> tuple[Prediction, ...]:
        return self._lines("general.jsonl", Prediction)

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """Of those that have ended, a line at the start and one at the end."""
        return self._lines("attempts.jsonl", Attempt)

    @cached_property
    def forecast(self) -> Forecast | None:
        """None: none lies there that can be read."""
        try:
            return Forecast.model_validate_json((self.folder / FILE).read_bytes())
        except (OSError, ValidationError):
            return None

    def scored_by(self, metric: Metric) -> tuple[Prediction, ...]:
        """The rows that hold this metric's statistics."""
        return self.general if metric.reads == "general" else self.predictions

    def _read_result(self) -> RunResult | None:
        path = self.folder / "result.json"
        if not path.exists():
            return None
        try:
            return RunResult.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            self.error = f"result.json cannot be read: {_first_problem(error)}"
            return None

    def _failure(self) -> str | None:
        path = self.folder / "failure.json"
        if not path.is_file():
            return None
        try:
            failure = json.loads(path.read_text(encoding="utf-8"))
            if "diverged" in failure:
                self.divergence = Divergence.model_validate(failure["diverged"])
            return str(failure.get("error") or "failed without a message")
        except (ValueError, AttributeError, TypeError, RecursionError):
            return "failed; failure.json cannot be read"

    def _config(self) -> RunConfig | None:
        path = self.folder / "run.json"
        if not path.is_file():
            return None
        try:
            return RunConfig.from_run_json(path.read_bytes())
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # not JSON, or not a run's
            self._unread.append(f"run.json cannot be read: {_first_problem(error)}")
            return None

    def _lines(self, name: str, kind: type[AnyRecord]) -> tuple[AnyRecord, ...]:
        path = self.folder / name
        if not path.is_file():
            return ()
        records, unread = [], list[int]()
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if not line.strip():
                continue
            try:
                records.append(kind.model_validate_json(line))
            except ValidationError:
                unread.append(number)
        if unread:
            which = f"line {unread[0]}" if len(unread) == 1 else f"{len(unread)} lines, the first of them {unread[0]},"
            self._unread.append(f"{name}: {which} cannot be read and left out")
        return tuple(records)


def read_runs(study: StudyRuns) -> tuple[RunRecords, ...]:
    """Every planned run of the study, in the order of the plan."""
    return tuple(RunRecords(entry=entry, folder=study.folder / "runs" / entry.id) for entry in study.runs)


def whole_seconds(run: RunRecords, *, in_all: bool = False) -> float | None:
    """All phases of a run that is over, by the clock or of all its devices: of one that diverged, until then. None: not
    known."""
    phases = run.result.phases if run.state == "finished" else run.divergence.phases if run.divergence else {}
    return sum(cost.seconds_in_all if in_all else cost.seconds for cost in phases.values()) if phases else None


def finished(runs: Sequence[RunRecords]) -> list[RunRecords]:
    """Those that have a result."""
    return [run for run in runs if run.state == "finished"]


def _first_problem(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
