"""What a terminal shows while a study runs: what is running and what failed first, all else in one line, in whatever
room the terminal has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunelab.config.run import RunConfig
from tunelab.launch.terminal.at_work import AtWork
from tunelab.launch.terminal.board import Board, Line
from tunelab.launch.terminal.time_left import clock, standing_words, time_words
from tunelab.report.tables import visible
from tunelab.stages import heard_by
from tunelab.study.planning.runs import StudyRun
from tunelab.study.store import Store

FEWEST_FAILED = 3
"""Failed runs that keep a line each where many are running."""
FOOT_LINES = 4
GAP = 2


class LiveView:
    """Changes in place; what should stay is printed above it."""

    def __init__(self, console: Console, *, doing: str = "") -> None:
        """`doing`: shown until the runs are known."""
        self._console = console
        self._board = Board()
        self._work = AtWork(doing)
        self._hearing = heard_by(self._work.hear)
        self._over = False
        """The last picture is of the study alone: what failed stands above it."""
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> LiveView:
        self._live.start(refresh=True)
        self._hearing.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hearing.__exit__(None, None, None)
        self._over = True
        self._work.rest()  # what was being planned is no picture of the study: nothing is left of it
        self._live.stop()

    def told(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        self._board.planned(runs, store)
        self._work.rest()

    def event(self, run: RunConfig, event: dict[str, Any]) -> None:
        if event["event"] == "note":
            if (note := self._board.fresh_note(run, event)) is not None:
                self.told(visible(note))
            return
        line = self._board.event(run, event)
        if event["event"] in ("failed", "busy") and line.state != "diverged":
            self.told(visible(f"{event['event'].upper()} {self._board.name(line)}: {line.error}"))

    def _render(self) -> Group:
        width, board = self._console.width, self._board
        foot: list[RenderableType] = []
        if board.num_runs:
            words = f"{standing_words(board)}. {time_words(board, over=self._over)}"
            foot += list(Text(words, style="bold").wrap(self._console, width))[:FOOT_LINES]
        if self._work.shown:
            foot.append(self._work.line())
        if self._over:
            return Group(*foot)
        room = self._console.height - 1 - len(foot)
        running, failed = board.those("running"), _gone_wrong(board)
        names = [visible(board.name(line)) for line in running]
        kept = min(len(failed), FEWEST_FAILED)
        height = 1 if all(len(name) <= _name_width(width) for name in names) else 2
        if height * len(running) + kept > room:
            height = 1
        shown = _fitting(len(running), (room - kept) // height)
        rows: list[RenderableType] = []
        short = shortened(names, _name_width(width) if height == 1 else width)
        for line, name in zip(running[:shown], short, strict=False):
            rows += _rows(line, name, width, height=height)
        if shown < len(running):
            rows.append(Text(f"and {len(running) - shown} more are running", style="cyan"))
        rest = room - height * shown - (shown < len(running))
        rows += self._failed(failed, rest, width)
        return Group(*rows, *foot)

    def _failed(self, failed: Sequence[Line], room: int, width: int) -> list[RenderableType]:
        shown = _fitting(len(failed), room)
        rows: list[RenderableType] = []
        names = shortened([visible(self._board.name(line)) for line in failed], width // 2)
        for line, name in zip(failed[:shown], names, strict=False):
            if line.state == "diverged":
                text = f"{name}: diverged {line.error}, an outcome of the search"
            else:
                text = f"{line.state.upper()} {name}: {visible(line.error)}"
            style = "red" if line.state == "failed" else "yellow"
            rows.append(Text(text, style=style, no_wrap=True, overflow="ellipsis"))
        if shown < len(failed):
            rows.append(Text(f"and {len(failed) - shown} more: `tunelab status` names them", style="red"))
        return rows


def _gone_wrong(board: Board) -> list[Line]:
    """The worst first."""
    return [line for state in ("failed", "busy", "stopped", "diverged") for line in board.those(state)]


def _fitting(number: int, room: int) -> int:
    """How many of so many lines are shown in a room, where one is kept to count the others."""
    return number if number <= room else max(0, room - 1)


def _columns(width: int, *, wide: bool) -> list[int]:
    """Of what stands beside a name: state, bar, loss, speed where there is room for it, time left."""
    return [16, 20 if width >= 90 else 10, 11, *([15] if wide else []), 12]


def _details_width(width: int) -> int:
    """Of all of it where it stands in one line with the name."""
    return sum(each + GAP for each in _columns(width, wide=width >= 110))


def _name_width(width: int) -> int:
    return max(10, width - _details_width(width) - GAP)


def _rows(line: Line, name: str, width: int, *, height: int) -> list[RenderableType]:
    """One run: its name and how far it is, in one line or in two."""
    state = line.phase or "starting"
    if line.generated is not None:
        state = f"generate {line.generated['done']}/{line.generated['total']}"
    elif line.phase == "train" and line.num_steps:
        state = f"step {line.step}/{line.num_steps}"
    seconds = line.text_seconds_left() if line.generated is not None else None
    if line.phase == "train" and line.generated is None:
        seconds = line.train_seconds_left()
    left = "" if seconds is None else f"{clock(seconds)} left"
    loss = "" if line.loss is None else f"loss {line.loss:.3f}"
    speed = "" if line.speed is None else f"{line.speed:,.0f} tokens/s"
    wide = width >= 110 or height == 2
    columns = _columns(width, wide=wide)
    bar = ProgressBar(total=1.0, completed=line.share, width=columns[1])
    table = Table.grid(padding=(0, GAP, 0, 0))
    if height == 1:
        table.add_column(width=_name_width(width), no_wrap=True)
    for column in columns:
        table.add_column(width=column, no_wrap=True, overflow="ellipsis")
    doing = line.stage and line.generated is None and line.phase != "train"
    speeds = [Text(speed)] if wide else []
    details: list[RenderableType] = [Text(state, style="cyan"), bar, Text(loss), *speeds, Text(left)]
    table.add_row(*([Text(name)] if height == 1 else []), *details)
    under: RenderableType = table
    if doing:
        begin = Text(f"{name:<{_name_width(width) + GAP}}" if height == 1 else "")
        under = Text.assemble(begin, (f"{state}: {visible(line.stage)}", "cyan"), no_wrap=True, overflow="ellipsis")
    return [under] if height == 1 else [Text(name, no_wrap=True), Padding(under, (0, 0, 0, 2))]


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Each at most so long, and no two that differ the same: what all begin with is left out where it must be."""
    short = [cut(name, width) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    common = next((place for place, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)
    front = min(common, width // 4)
    short = [f"{name[:front]}…{cut(name[common:], width - front - 1)}" for name in names]
    if len(set(short)) == len(set(names)):
        return short
    return [f"{number}: {cut(name, width - len(f'{number}: '))}" for number, name in enumerate(names, 1)]


def cut(text: str, width: int) -> str:
    """At most so long: the middle is left out, since names differ at their ends."""
    if len(text) <= width:
        return text
    front = (width - 1) // 2
    return f"{text[:front]}…{text[len(text) - (width - 1 - front) :]}"
