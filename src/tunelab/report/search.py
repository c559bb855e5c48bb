"""What a search over learning rates has found: the candidates of a method, and whether the winner stands at an edge."""

from __future__ import annotations

from typing import Literal

from tunelab.report.frame import Group
from tunelab.report.reading import RunRecords

Edge = Literal["lowest", "highest"]


def candidates(group: Group, method: str) -> list[RunRecords]:
    """Every candidate of a method's search, the winner and those that diverged included, the lowest learning rate
    first; [] where nothing was searched."""
    runs = [run for run in (*group.runs, *group.diverged) if run.entry.method == method and run.entry.num_tried > 1]
    first = [run.entry.seed for run in runs if run.entry.role == "candidate"]
    known = [(rate, run) for run in runs if run.entry.seed in first and (rate := run.entry.learning_rate) is not None]
    return [run for _, run in sorted(known, key=lambda pair: pair[0])]


def winner(group: Group, method: str) -> RunRecords | None:
    """The candidate that won on the first seed; None while there is none."""
    return next((run for run in candidates(group, method) if _won(run)), None)


def edge_of_winner(group: Group, method: str) -> Edge | None:
    """Whether the winner's learning rate is the lowest or the highest of those that the search has learned something
    of, so that a better one may lie outside. A rate that diverged counts: above it there is nothing to find. One that
    failed otherwise, or is not finished, does not. None: not at an edge, or no search with an end."""
    best = winner(group, method)
    told = [run for run in candidates(group, method) if run.state in ("finished", "diverged")]
    rates = sorted({rate for run in told if (rate := run.entry.learning_rate) is not None})
    if best is None or len(rates) < 2 or best.entry.learning_rate not in (rates[0], rates[-1]):
        return None
    return "lowest" if best.entry.learning_rate == rates[0] else "highest"


def _won(run: RunRecords) -> bool:
    return run.entry.role == "run" and run.state == "finished"
