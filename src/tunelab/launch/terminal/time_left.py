"""How long a study still takes, from what its own runs have measured: finished ones, and the steps and texts of running
ones. Where nothing is measured there is no number."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunelab.entries import BASE
from tunelab.launch.terminal.board import Board, Line, Seconds

Key = tuple[str, str, str]
"""Back end, task, label."""
FEWEST_STEPS = 3
"""The first steps of a run are slower: before these its speed is not taken for measured."""


class Estimate(NamedTuple):
    seconds: float
    num_finished: int
    """Runs whose measured seconds it is made of."""
    num_running: int
    """Runs whose speed it is made of beside those."""
    num_unmeasured: int
    """Methods of which no run was measured: taken to be as long as the others."""
    without_evaluation: bool
    """No evaluation was measured yet, so none is in it."""


def estimate(board: Board) -> Estimate | None:
    """None: nothing is left, or nothing of what is left was measured."""
    left = [line for line in board.lines.values() if line.state in ("waiting", "running")]
    coming = [*map(_key, left), *((entry.backend, entry.task, entry.method) for entry in board.open_ones)]
    finished = [(line, line.spent) for line in board.lines.values() if line.spent is not None]
    running = [line for line in left if line.state == "running" and len(line.step_seconds) >= FEWEST_STEPS]
    known = _Known([(_key(line), spent) for line, spent in finished] + [(_key(line), _whole(line)) for line in running])
    trained = [key for key in coming if key[2] != BASE]
    if not coming or (trained and known.of("train", trained[0]) is None):
        return None
    each = [_of_line(line, known) for line in left]
    each += [_sum(known, (entry.backend, entry.task, entry.method)) for entry in board.open_ones]
    at_once = max(1, board.most_at_once)
    longest = max(each, default=0.0)
    unmeasured = {key[2] for key in trained if not known.is_measured(key)}
    without = any(known.of("evaluate", key) is None for key in coming)
    if not sum(each):
        return None
    return Estimate(max(longest, sum(each) / at_once), len(finished), len(running), len(unmeasured), without)


class _Known:
    """Measured seconds, of a kind of run, else of those most like it."""

    def __init__(self, measured: Sequence[tuple[Key, Seconds]]) -> None:
        self._measured = measured

    def is_measured(self, key: Key) -> bool:
        return any(other == key and spent.train is not None for other, spent in self._measured)

    def of(self, part: str, key: Key) -> float | None:
        """Mean of runs of the same kind, else of the same task, else of all; of methods apart from the base."""
        like: Sequence[Callable[[Key], bool]] = (
            lambda other: other == key,
            lambda other: other[:2] == key[:2] and (other[2] == BASE) == (key[2] == BASE),
            lambda other: (other[2] == BASE) == (key[2] == BASE),
            lambda other: part != "train",
        )
        for matches in like:
            values = [getattr(spent, part) for other, spent in self._measured if matches(other)]
            values = [value for value in values if value is not None]
            if values:
                return sum(values) / len(values)
        return None


def _key(line: Line) -> Key:
    return line.backend, line.task, line.label


def _whole(line: Line) -> Seconds:
    """What the training of a running one takes in all, by its steps."""
    each = line.recent_seconds
    return Seconds(None if each is None else each * line.num_steps, None, None)


def _sum(known: _Known, key: Key) -> float:
    train = 0.0 if key[2] == BASE else known.of("train", key) or 0.0
    return train + (known.of("evaluate", key) or 0.0) + (known.of("rest", key) or 0.0)


def _of_line(line: Line, known: _Known) -> float:
    """What is left of one run."""
    key = _key(line)
    evaluate = known.of("evaluate", key) or 0.0
    if line.state == "waiting":
        return _sum(known, key)
    if line.phase in ("evaluate", "harness"):
        own = line.text_seconds_left()
        return evaluate / 2 if own is None else own
    if line.num_steps and line.step == line.num_steps:
        return evaluate
    train = line.train_seconds_left()
    if train is None:
        train = 0.0 if key[2] == BASE else known.of("train", key) or 0.0
    return train + evaluate


def standing_words(board: Board) -> str:
    """'18 of 24 runs finished, 2 running, 1 failed, 3 waiting'."""
    counts = {
        "running": len(board.those("running")),
        "failed": len(board.those("failed")),
        "diverged (an outcome of the search)": len(board.those("diverged")),
        "stopped": len(board.those("stopped")),
        "executed elsewhere": len(board.those("busy")),
        "waiting": len(board.those("waiting")) + len(board.open_ones),
    }
    finished = f"{len(board.those('finished'))} of {board.num_runs} runs finished"
    return ", ".join([finished, *(f"{number} {word}" for word, number in counts.items() if number)])


def time_words(board: Board, *, over: bool = False) -> str:
    """'12:03 used; about 14 min left, by the speed of 5 finished runs'. `over`: nothing is executed any more."""
    earlier = sum(line.spent.whole for line in board.lines.values() if line.was_finished and line.spent)
    used = f"{clock(time.monotonic() - board.begun)} used"
    if earlier:
        used += f" (and {clock(earlier)} by runs that had finished before)"
    if over:
        return used
    found = estimate(board)
    if found is None:
        left = any(line.state in ("waiting", "running") for line in board.lines.values()) or board.open_ones
        return f"{used}; time left: nothing measured yet" if left else used
    by = [f"{found.num_finished} finished"] if found.num_finished else []
    by += [f"{found.num_running} running"] if found.num_running else []
    runs = "run" if (found.num_finished, found.num_running)[bool(found.num_running)] == 1 else "runs"
    words = f"{used}; about {about(found.seconds)} left, by the speed of {' and '.join(by)} {runs}"
    if found.num_unmeasured:
        methods = "1 method" if found.num_unmeasured == 1 else f"{found.num_unmeasured} methods"
        words += f"; {methods} not measured yet, taken like the rest"
    if found.without_evaluation:
        words += "; evaluation is not measured yet, and not in it"
    return words


def clock(seconds: float) -> str:
    """'0:42', '12:03', '1:02:03'."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    """'40 s', '14 min', '3.2 h': no more digits than an estimate has."""
    if seconds < 90:
        return f"{max(1, round(seconds, -1 if seconds >= 20 else 0)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
