"""What a terminal shows while a study runs: one line a run, live; plain lines where the output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunelab.config.run import RunConfig
from tunelab.study.planning.runs import StudyRun
from tunelab.study.store import Store


class View(Protocol):
    """Shows what goes on."""

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        """The runs as known now; called again when a search has chosen a learning rate."""

    def event(self, run: RunConfig, event: dict[str, Any]) -> None: ...

    def told(self, text: str) -> None:
        """A line about the study as a whole."""


def view_for(console: Console) -> LiveView | PlainView:
    """A context manager; the live view where the console is a terminal."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """A line per thing worth knowing; for logs."""

    def __init__(self, console: Console, *, every_seconds: float = 10.0) -> None:
        self.console = console
        self.every_seconds = every_seconds
        self._last = 0.0
        self._announced: set[str] = set()
        self._candidates: set[str] = set()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def told(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        for study_run in runs:
            run = study_run.run
            if run is None:
                continue
            self._candidates |= {run.id} if _is_candidate(study_run) else set()
            state = _ending(study_run, store)
            if run.id not in self._announced and state is not None:
                self._announced.add(run.id)
                self.console.print(f"{run.id}: {state}", markup=False, highlight=False)

    def event(self, run: RunConfig, event: dict[str, Any]) -> None:
        now = time.monotonic()
        if event["event"] in ("step", "generate"):
            if not _last_of_its_kind(event) and now - self._last < self.every_seconds:
                return
            self._last = now
        line = _diverged(event) if run.id in self._candidates and "diverged_at" in event else _plain(event)
        self._announced |= {run.id} if "diverged_at" in event else set()
        if line:
            self.console.print(f"{run.id}: {line}", markup=False, highlight=False)


def _is_candidate(study_run: StudyRun) -> bool:
    """Whether it may lose a search: then its divergence is no failure, unless all others fail too."""
    return study_run.entry.num_tried > 1 and study_run.entry.role == "candidate"


def _ending(study_run: StudyRun, store: Store) -> str | None:
    """Of a run that is over, without any event where it was so before: finished, or a candidate that diverged."""
    folder = store.run(study_run.run.id if study_run.run else "")
    divergence = folder.divergence() if study_run.is_outcome else None
    if divergence is not None:
        return f"diverged at step {divergence.step}"
    return "finished" if study_run.run and folder.finished else None


def _diverged(event: dict[str, Any]) -> str:
    """Of a candidate."""
    return f"diverged at step {event['diverged_at']}: an outcome of the search"


def _last_of_its_kind(event: dict[str, Any]) -> bool:
    if event["event"] == "generate":
        return event["done"] == event["total"]
    return event["step"] == event["num_steps"]


def _plain(event: dict[str, Any]) -> str | None:
    kind = event["event"]
    if kind == "step":
        return (
            f"step {event['step']}/{event['num_steps']} loss {event['ema_loss']:.4f} "
            f"{event['tokens_per_second']:,.0f} tokens/s"
        )
    if kind == "generate":
        return f"generated {event['done']}/{event['total']} texts {event['tokens_per_second']:,.0f} tokens/s"
    if kind == "validation":
        return f"step {event['step']} validation loss {event['loss']:.4f}"
    if kind == "resumed":
        return f"resumed at step {event['step']}"
    if kind in ("failed", "busy"):
        return f"{kind.upper()}: {event['error']}"
    if kind == "phase" and event["phase"] in ("load", "evaluate", "harness"):
        return event["phase"]
    return None


class _Line:
    """What is known of one run."""

    def __init__(self, run: RunConfig, *, searched: bool = False, setting: Sequence[tuple[str, str]] = ()) -> None:
        self.name = f"{run.method['label']}, {run.task}, seed {run.seed}"
        if searched:
            self.name += f", rate {run.method['learning_rate']:g}"
        self.name += "".join(f", {field} {value}" for field, value in setting)
        self.candidate = False
        self.state = "waiting"
        self.step = self.num_steps = 0
        self.loss: float | None = None
        self.rate: float | None = None
        self.seconds: list[float] = []
        self.generated: dict[str, Any] | None = None
        """The last event of generation, while it lasts."""

    @property
    def share(self) -> float:
        """Done, of what is going on."""
        if self.state == "finished":
            return 1.0
        if self.generated is not None:
            return self.generated["done"] / self.generated["total"]
        return self.step / self.num_steps if self.num_steps else 0.0

    @property
    def speed(self) -> float | None:
        """Tokens a second: generated ones while texts are, else those of the last step."""
        return self.rate if self.generated is None else self.generated["tokens_per_second"]


class LiveView:
    """One line a run: progress, loss, tokens/s, time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: dict[str, _Line] = {}
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def told(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        for study_run in runs:
            if study_run.run is not None:
                searched, setting = study_run.entry.num_tried > 1, study_run.entry.setting
                fresh = _Line(study_run.run, searched=searched, setting=setting)
                line = self._lines.setdefault(study_run.run.id, fresh)
                line.candidate = _is_candidate(study_run)
                state = _ending(study_run, store)
                if state is not None:
                    line.state, line.generated = state, None

    def event(self, run: RunConfig, event: dict[str, Any]) -> None:
        line = self._lines.setdefault(run.id, _Line(run))
        kind = event["event"]
        if kind == "step":
            line.step, line.num_steps = event["step"], event["num_steps"]
            line.loss, line.rate = event["ema_loss"], event["tokens_per_second"]
            line.seconds.append(event["seconds"])
        elif kind == "train":
            line.step, line.num_steps = event["step"], event["num_steps"]
        elif kind == "phase":
            line.state, line.generated = event["phase"], None
        elif kind == "generate":
            line.state, line.generated = f"generate {event['done']}/{event['total']}", event
        elif kind == "failed" and line.candidate and "diverged_at" in event:
            line.state, line.generated = f"diverged at step {event['diverged_at']}", None
        elif kind in ("failed", "busy"):
            line.state = kind

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for line in self._lines.values():
            colour = {"finished": "green", "failed": "red", "waiting": "dim"}.get(line.state, "cyan")
            table.add_row(
                Text(line.name),
                Text(line.state, style=colour),
                ProgressBar(total=1.0, completed=line.share, width=20),
                Text("" if line.loss is None else f"loss {line.loss:.3f}"),
                Text("" if line.speed is None else f"{line.speed:,.0f} tokens/s"),
                Text(_time_left(line)),
            )
        return Group(table)


def _time_left(line: _Line) -> str:
    if line.state != "train" or not line.seconds:
        return ""
    recent = line.seconds[-20:]
    seconds = (line.num_steps - line.step) * sum(recent) / len(recent)
    return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"
