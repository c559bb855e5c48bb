"""Predicted time beside what was measured: of steps alone on the machine as it was when its speed was measured."""

from __future__ import annotations

from tunelab.entries import MARKED
from tunelab.report.foretold import beside, by_phase, told_of
from tunelab.report.frame import Comparison
from tunelab.report.numbers import duration
from tunelab.report.tables import Cell, Table

FEET = (
    "Of the first seed. Predicted from what the steps compute and the speed of this machine when it had no other work: "
    "runs that went on at the same time slowed each other down. Texts are taken to be as long as their references. "
    f"* more than {MARKED:.0%} beside what was measured.",
)
PHASES = ("train", "evaluate")


def foretold_time(comparison: Comparison) -> Table | None:
    """A row a method, task and phase; None: no machine's speed was known."""
    several = len({group.task for group in comparison.groups}) > 1
    rows = []
    for method, task, forecast, result in told_of(comparison):
        for phase in PHASES:
            cost, predicted = result.phases.get(phase), forecast.seconds.get(phase)
            if cost is None or not predicted:
                continue
            said = beside(predicted, cost.seconds)
            cells = (duration(cost.seconds), duration(predicted), said)
            rows.append((Cell(method), *([Cell(task)] if several else []), Cell(phase), *map(Cell, cells)))
    return by_phase(rows, FEET, several=several)
