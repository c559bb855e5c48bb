"""How a study stands while it runs: every run of it, by the plan and by what has happened since."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tunelab.config.run import RunConfig
from tunelab.entries import BASE, RunEntry
from tunelab.records import RunResult
from tunelab.study.planning.runs import StudyRun
from tunelab.study.store import Store

State = Literal["waiting", "running", "finished", "diverged", "failed", "stopped", "busy"]
"""diverged: a candidate of a search, whose outcome that is. busy: another process executes it."""
RECENT_STEPS = 20


class Seconds(NamedTuple):
    """What a run takes, by what it is spent on. None: not measured."""

    train: float | None
    """Validation included."""
    evaluate: float | None
    rest: float | None
    """Loading, preparing, saving."""

    @classmethod
    def of(cls, result: RunResult) -> Seconds:
        seconds = {name: cost.seconds for name, cost in result.phases.items()}
        evaluate = sum(seconds.pop(name, 0.0) for name in ("evaluate", "harness"))
        train = sum(seconds.pop(name, 0.0) for name in ("train", "validate"))
        return cls(train, evaluate, sum(seconds.values()))

    @property
    def whole(self) -> float:
        return sum(value or 0.0 for value in self)


class Line:
    """What is known of one run."""

    def __init__(self, label: str, task: str, seed: int, backend: str) -> None:
        self.label, self.task, self.seed, self.backend = label, task, seed, backend
        self.setting = ""
        """What a search tries: ', rate 1e-3, rank 8'."""
        self.candidate = False
        """It may lose a search: then its divergence is no failure, unless all others fail too."""
        self.state: State = "waiting"
        self.phase = ""
        self.stage = ""
        """Of its phase, what is being done."""
        self.error = ""
        self.step = self.num_steps = 0
        self.loss: float | None = None
        self.rate: float | None = None
        """Tokens a second of the last step."""
        self.step_seconds: list[float] = []
        self.first_step: tuple[int, float] | None = None
        """The first that was told of, and when: what is done between steps counts with them."""
        self.last_step_at = 0.0
        self.generated: dict[str, Any] | None = None
        """The last event of generation, while it lasts."""
        self.generating_since = 0.0
        self.spent: Seconds | None = None
        """Of one that has finished."""
        self.was_finished = False
        """Before this command."""

    @property
    def trains(self) -> bool:
        return self.label != BASE

    def name(self, *, with_task: bool, with_backend: bool) -> str:
        """'lora, restaurants, seed 0, rate 1e-3'."""
        place = [self.task] if with_task else []
        place += [self.backend] if with_backend else []
        return ", ".join([self.label, *place, f"seed {self.seed}"]) + self.setting

    @property
    def share(self) -> float:
        """Done, of what is going on."""
        if self.state == "finished":
            return 1.0
        if self.generated is not None:
            return self.generated["done"] / max(1, self.generated["total"])
        return self.step / self.num_steps if self.num_steps else 0.0

    @property
    def speed(self) -> float | None:
        """Tokens a second: generated ones while texts are, else those of the last step."""
        return self.rate if self.generated is None else self.generated["tokens_per_second"]

    @property
    def recent_seconds(self) -> float | None:
        """Of a step: by the clock, validation included, once there are enough of them."""
        steps = 0 if self.first_step is None else self.step - self.first_step[0]
        if self.first_step is not None and steps >= RECENT_STEPS:
            return (self.last_step_at - self.first_step[1]) / steps
        recent = self.step_seconds[-RECENT_STEPS:]
        return sum(recent) / len(recent) if recent else None

    def train_seconds_left(self) -> float | None:
        """Of one that trains, by its own last steps."""
        each = self.recent_seconds
        return None if each is None or not self.num_steps else (self.num_steps - self.step) * each

    def text_seconds_left(self) -> float | None:
        """Of one that generates, by its own texts."""
        if self.generated is None or not self.generated["done"]:
            return None
        done, total = self.generated["done"], self.generated["total"]
        return (total - done) * (time.monotonic() - self.generating_since) / done


class Board:
    """All runs of a study, those too that a search has still to choose."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        """By id."""
        self.open_ones: list[RunEntry] = []
        """Runs whose search has not ended."""
        self.begun = time.monotonic()
        self.most_at_once = 0
        """Runs that were executed at the same time."""
        self._said: set[tuple[str, str]] = set()
        self._planned = False

    def planned(self, runs: Sequence[StudyRun], store: Store) -> list[str]:
        """Ids of those that are over since the last call."""
        known, ended, self.lines = self.lines, [], {}
        for study_run in runs:
            if (run := study_run.run) is None:
                continue
            line = self.lines[run.id] = known.get(run.id) or line_of(run, study_run.entry)
            line.candidate = study_run.entry.num_tried > 1 and study_run.entry.role == "candidate"
            before = line.state
            _look(line, study_run, store, first=not self._planned)
            if line.state in ("finished", "diverged") and before != line.state:
                ended.append(run.id)
        self.lines |= {run_id: line for run_id, line in known.items() if line.state == "running"}
        self.open_ones = [each.entry for each in runs if each.run is None]
        self._planned = True
        return ended

    def event(self, run: RunConfig, event: dict[str, Any]) -> Line:
        """What a run has told."""
        line = self.lines.setdefault(run.id, line_of(run))
        _tell(line, event)
        self.most_at_once = max(self.most_at_once, len(self.those("running")))
        return line

    def fresh_note(self, run: RunConfig, event: dict[str, Any]) -> str | None:
        """What a run has told of its data, where no other of its task has told the same."""
        said = (run.task, event["text"])
        if event["event"] != "note" or said in self._said:
            return None
        self._said.add(said)
        return f"{run.task}: {event['text']}"

    def those(self, *states: State) -> list[Line]:
        return [line for line in self.lines.values() if line.state in states]

    @property
    def num_runs(self) -> int:
        return len(self.lines) + len(self.open_ones)

    def name(self, line: Line) -> str:
        """Without what is the same for all."""
        lines = self.lines.values()
        return line.name(
            with_task=len({each.task for each in lines}) > 1, with_backend=len({each.backend for each in lines}) > 1
        )


def line_of(run: RunConfig, entry: RunEntry | None = None) -> Line:
    line = Line(run.method["label"], run.task, run.seed, run.backend)
    if entry is not None and entry.num_tried > 1 and entry.learning_rate is not None:
        line.setting = f", rate {entry.learning_rate:g}"
    line.setting += "".join(f", {field} {value}" for field, value in (entry.setting if entry else ()))
    return line


def _look(line: Line, study_run: StudyRun, store: Store, *, first: bool) -> None:
    """What its folder says, without any event where it was over before."""
    folder = store.run(study_run.run.id if study_run.run else "")
    divergence = folder.divergence() if study_run.is_outcome else None
    if divergence is not None:
        line.state, line.error, line.generated = "diverged", f"at step {divergence.step}", None
    elif folder.finished and line.state != "finished":
        line.state, line.generated, line.was_finished = "finished", None, first
        result = folder.read_result()
        line.spent = None if result is None else Seconds.of(result)


def _tell(line: Line, event: dict[str, Any]) -> None:
    kind = event["event"]
    if kind in ("starting", "step", "train", "phase", "generate", "validation", "stage", "resumed"):
        line.state = "running"
    if kind in ("step", "train"):
        line.step, line.num_steps = event["step"], event["num_steps"]
        line.phase = line.phase or "train"
    if kind == "step":
        line.loss, line.rate = event["ema_loss"], event["tokens_per_second"]
        line.step_seconds.append(event["seconds"])
        line.last_step_at = time.monotonic()
        if line.first_step is None or line.step <= line.first_step[0]:  # or it goes on from a checkpoint
            line.first_step = (line.step, line.last_step_at)
    elif kind == "phase":
        line.phase, line.stage, line.generated = event["phase"], "", None
    elif kind == "stage":
        line.stage = event["text"]
    elif kind == "generate":
        if line.generated is None:
            line.generating_since = time.monotonic()
        line.generated = event
    elif kind == "failed":
        diverged = line.candidate and "diverged_at" in event
        line.state = "diverged" if diverged else "failed"
        line.error = f"at step {event['diverged_at']}" if diverged else event["error"]
    elif kind in ("busy", "stopped"):
        line.state, line.error = kind, event["error"]
