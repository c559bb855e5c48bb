"""Shows what goes on while a study runs: live on a terminal, in plain lines where the output is none."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, Protocol

from rich.console import Console

from tunelab.config.run import RunConfig
from tunelab.launch.terminal.at_work import AtWork, at_work
from tunelab.launch.terminal.board import Board
from tunelab.launch.terminal.live import LiveView
from tunelab.launch.terminal.time_left import standing_words, time_words
from tunelab.study.planning.runs import StudyRun
from tunelab.study.store import Store

STANDING_SECONDS = 60.0
"""Between two lines about the study as a whole."""


class View(Protocol):
    """Shows what goes on."""

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        """The runs as known now; called again when a search has chosen a learning rate."""

    def event(self, run: RunConfig, event: dict[str, Any]) -> None: ...

    def told(self, text: str) -> None:
        """A line about the study as a whole."""


def view_for(console: Console, *, doing: str = "") -> LiveView | PlainView:
    """A context manager; the live view where the console is a terminal. `doing`: said until the runs are known."""
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveView(console, doing=doing) if live else PlainView(console, doing=doing)


class PlainView:
    """A line per thing worth knowing; for logs."""

    def __init__(self, console: Console, *, every_seconds: float = 10.0, doing: str = "") -> None:
        self.console = console
        self.every_seconds = every_seconds
        self._last = 0.0
        self._last_line = time.monotonic()
        self._last_standing = time.monotonic()
        self._announced: set[str] = set()
        self._board = Board()
        self._doing = doing
        self._work: AtWork | None = None
        self._stack = ExitStack()

    def __enter__(self) -> PlainView:
        self._work = self._stack.enter_context(at_work(self._doing))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def told(self, text: str) -> None:
        self._print(text)

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        if self._work is not None:
            self._work.rest()
        for run_id in self._board.planned(runs, store):
            line = self._board.lines[run_id]
            if run_id not in self._announced:
                self._announced.add(run_id)
                self._print(f"{run_id}: {line.state}{' ' + line.error if line.error else ''}")
        if time.monotonic() - self._last_standing >= STANDING_SECONDS:
            self._last_standing = time.monotonic()
            self._print(f"{standing_words(self._board)}. {time_words(self._board)}")

    def event(self, run: RunConfig, event: dict[str, Any]) -> None:
        if event["event"] == "note":
            if (note := self._board.fresh_note(run, event)) is not None:
                self._print(note)
            return
        line, now = self._board.event(run, event), time.monotonic()
        if event["event"] in ("step", "generate", "stage"):
            if not _last_of_its_kind(event) and now - self._last < self.every_seconds:
                return
            self._last = now
        said = f"{line.state} {line.error}: an outcome of the search" if line.state == "diverged" else _plain(event)
        if event["event"] == "phase" and said is None and now - self._last_line >= self.every_seconds:
            said = event["phase"]  # it may take long, and nothing was said for a while
        self._announced |= {run.id} if "diverged_at" in event else set()
        if said:
            self._print(f"{run.id}: {said}")

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)  # a log's lines are whole


def _last_of_its_kind(event: dict[str, Any]) -> bool:
    if event["event"] == "stage":
        return False
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
    if kind == "loaded":
        return f"loaded in {event['seconds']:.1f} s"
    if kind == "resumed":
        return f"resumed at step {event['step']}"
    if kind in ("failed", "busy"):
        return f"{kind.upper()}: {event['error']}"
    if kind == "phase" and event["phase"] in ("load", "evaluate", "harness"):
        return event["phase"]
    return event["text"] if kind == "stage" else None
