"""What weakens or contradicts a verdict, said in the same breath."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tunelab.entries import BASE
from tunelab.report.choice import Choice
from tunelab.report.frame import Group, Row
from tunelab.report.marks import UNEQUAL_SEARCH, UNSTEADY
from tunelab.report.numbers import number, rate, score_decimals
from tunelab.report.reading import RunRecords, finished
from tunelab.report.search import edge_of_winner

OTHER_MACHINE = ("hardware differs", "device differs", "number of threads differs")
MOST_NAMED = 6
"""Methods that a sentence names."""
FEW_SEEDS_T = 2.0
"""Standard errors by which two methods' validation losses must differ to be told as different."""


def against(choice: Choice, group: Group) -> list[str]:
    """What speaks for a method that is not kept: another metric, or the validation loss."""
    kept = next((row for row in group.rows if row.method == choice.keep and row.method != BASE), None)
    if kept is None:
        return []
    said = []
    for name in group.metrics:
        cell = kept.scores.get(name)
        if cell is None or not cell.better:
            continue
        others = [row for row in group.rows if row.method in cell.better]
        decimals = score_decimals([cell.mean, *(row.scores[name].mean for row in others)])
        listed = listing(f"{row.method} ({number(row.scores[name].mean, decimals)})" for row in others)
        shown = number(cell.mean, decimals)
        if name == group.metrics[0]:
            said.append(f"{listed} {is_are(others)} better than {kept.method} ({shown}), by less than the margin.")
        else:
            said.append(f"But {name} prefers {listed} to {kept.method} ({shown}).")
    lower = _lower_validation_loss(kept, group)
    if lower:
        said.append(f"But the validation loss prefers {lower}.")
    return said


def cautions(group: Group) -> list[str]:
    """Of the study's state and of what is compared with what."""
    marks = [mark for row in group.rows for mark in row.marks]
    return [
        *_unfinished(group),
        *_no_value(group),
        *(f"{row.method}: {mark}." for row in group.rows for mark in row.marks if mark.startswith(UNSTEADY)),
        *_edges(group),
        *(
            ["The methods had unequal numbers of learning rates to choose from (see the marks)."]
            if any(mark.startswith(UNEQUAL_SEARCH) for mark in marks)
            else []
        ),
        *(
            [
                "Rows were trained over different numbers of devices (see the marks), so their costs are compared in "
                "all: seconds times devices, and the peaks of all devices added."
            ]
            if group.compares_in_all
            else []
        ),
        *(
            ["Times and memory come from different machines or settings (see the marks)."]
            if any(fact in mark for mark in marks for fact in OTHER_MACHINE)
            else []
        ),
    ]


def listing(labels: Iterable[str]) -> str:
    """'a, b and c'."""
    known = list(labels)
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"


def is_are(rows: Sequence[Row]) -> str:
    return "is" if len(rows) == 1 else "are"


def _unfinished(group: Group) -> list[str]:
    """Which runs are not there; why stands under the table."""
    missing = [run for run in group.runs if run.state != "finished"]
    if not missing:
        return []
    by_state = {
        said: _seeds_by_method([run for run in missing if run.state == state])
        for state, said in (("failed", "failed"), ("pending", "not finished"))
    }
    listed = "; ".join(f"{said}: {listing(_at_most(names))}" for said, names in by_state.items() if names)
    return [f"Preliminary: {len(missing)} of {len(group.runs)} runs did not finish ({listed})."]


def _seeds_by_method(runs: Sequence[RunRecords]) -> list[str]:
    """'full (seed 1)'."""
    seeds: dict[str, dict[int, None]] = {}
    for run in runs:
        seeds.setdefault(run.entry.method, {})[run.entry.seed] = None
    return [
        f"{method} (seed{'s' * (len(of_method) > 1)} {', '.join(map(str, of_method))})"
        for method, of_method in seeds.items()
    ]


def _at_most(names: Sequence[str]) -> list[str]:
    return [*names] if len(names) <= MOST_NAMED else [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more methods"]


def _no_value(group: Group) -> list[str]:
    """Metrics that some methods have no value of; why stands under the table."""
    said = []
    done = [row for row in group.rows if row.num_seeds]
    for name in group.metrics:
        without = [row.method for row in done if row.scores[name].mean is None]
        whose = "" if len(without) == len(done) else f" for {listing(_at_most(without))}" if without else ""
        if without:
            said.append(f"{name} has no value{whose} (see the marks).")
    return said


def _lower_validation_loss(kept: Row, group: Group) -> str:
    """Methods whose mean validation loss is below the kept one's, by more than their seeds scatter; with numbers."""
    losses = {row.method: _validation_losses(row, group) for row in group.rows if row.method != BASE}
    mine = losses[kept.method]
    if len(mine) < 2:
        return ""
    below = {}
    for method, theirs in losses.items():
        if method == kept.method or len(theirs) < 2:
            continue
        difference = _mean(mine) - _mean(theirs)
        error = math.sqrt(_variance(mine) / len(mine) + _variance(theirs) / len(theirs))
        if difference > max(FEW_SEEDS_T * error, 1e-4):
            below[method] = _mean(theirs)
    if not below:
        return ""
    listed = listing(f"{method} ({number(loss, 4)})" for method, loss in below.items())
    return f"{listed} to {kept.method} ({number(_mean(mine), 4)})"


def _validation_losses(row: Row, group: Group) -> list[float]:
    results = [run.result for run in finished(group.runs_of(row.method))]
    losses = [result.validation_loss for result in results]
    return [loss for loss in losses if loss is not None and math.isfinite(loss)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _edges(group: Group) -> list[str]:
    """Searches whose winner is the lowest or the highest of what was tried."""
    found = [
        f"{row.method}'s learning rate {rate(row.learning_rate)} is the {edge} that was tried"
        for row in group.rows if (edge := edge_of_winner(group, row.method)) is not None
    ]  # fmt: skip
    return [f"{'; '.join(found)}: a better one may lie beyond."] if found else []
