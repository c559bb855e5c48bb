"""Where the time and the memory went: the phases of every method, and what the learning-rate search cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tunelab.records import PhaseCost
from tunelab.report.frame import Group
from tunelab.report.numbers import MISSING, Unit, duration, in_unit, memory_unit, number, rate, three_digits
from tunelab.report.reading import RunRecords, finished
from tunelab.report.tables import Cell, Column, Table, words

PHASES = ("load", "prepare", "train", "evaluate", "save")


def phases_table(group: Group) -> Table | None:
    """Mean seconds over the seeds, and below them the largest peak."""
    costs = {row.method: [run.result.phases for run in group.runs_of(row.method)] for row in group.rows}
    costs = {method: runs for method, runs in costs.items() if runs}
    everything = [cost for runs in costs.values() for phases in runs for cost in phases.values()]
    if not everything:
        return None
    names = [*PHASES, *sorted({name for runs in costs.values() for phases in runs for name in phases} - set(PHASES))]
    memory = memory_unit(cost.peak_gib for cost in everything)
    speeds = {row.method: row.tokens_per_second for row in group.rows}
    rows = tuple(
        (
            Cell(method),
            *(_phase(name, runs, memory=memory) for name in names),
            Cell(MISSING if speeds[method] is None else f"{speeds[method]:,.0f}"),
        )
        for method, runs in costs.items()
    )
    feet = (
        "Mean wall time; below it the largest peak memory in that phase, absolute.",
        "Tokens per second of the train phase, padding and the first steps left out.",
    )
    columns = (words("Method"), *(Column(name, "s") for name in names), Column("Tokens/s"))
    return Table("", columns, rows, feet)


def _phase(name: str, runs: Sequence[Mapping[str, PhaseCost]], *, memory: Unit) -> Cell:
    costs = [phases[name] for phases in runs if name in phases]
    mean = math.fsum(cost.seconds for cost in costs) / len(costs) if costs else None
    peak = max((cost.peak_gib for cost in costs if cost.peak_gib is not None), default=None)
    return Cell(three_digits(mean), below="" if peak is None else f"{in_unit(peak, memory)} {memory.name}")


def search_table(group: Group) -> Table | None:
    """Every learning rate of every method with more than one; the lowest validation loss on the first seed won."""
    rows, spent = [], []
    for row in group.rows:
        searched = _searched(group, row.method)
        rows += [_tried(run, is_edge=run in (searched[0], searched[-1])) for run in searched]
        if row.search_seconds is not None:
            spent.append(f"{row.method} {duration(row.search_seconds)}")
    if not rows:
        return None
    feet = (
        "Each rate is a run of its own on the first seed with the full budget. Test scores take no part in the choice.",
        *([f"Spent on rates that were not kept: {', '.join(spent)}."] if spent else []),
    )
    columns = (
        words("Method"), Column("Learning rate"), Column("Validation loss", "nats"), Column("Cost, all phases"),
        words("Outcome"),
    )  # fmt: skip
    return Table("", columns, tuple(rows), feet)


def _tried(run: RunRecords, *, is_edge: bool) -> tuple[Cell, ...]:
    won = run.entry.role == "run" and run.state == "finished"
    loss = run.result.validation_loss if run.state == "finished" else None
    return (
        Cell(run.entry.method),
        Cell(rate(run.entry.learning_rate)),
        Cell(number(loss, 4), tone="best" if won else ""),
        Cell(_whole_cost(run)),
        Cell(("kept; at the edge of what was tried" if is_edge else "kept") if won else _outcome(run)),
    )


def _searched(group: Group, method: str) -> list[RunRecords]:
    """The candidates of a search: the losers, and the winner on the same seed; the lowest learning rate first."""
    runs = [run for run in group.runs if run.entry.method == method and run.entry.num_tried > 1]
    losers = [run for run in runs if run.entry.role == "candidate"]
    seeds = {run.entry.seed for run in losers}
    known = [(rate, run) for run in runs if run.entry.seed in seeds and (rate := run.entry.learning_rate) is not None]
    return [run for _, run in sorted(known, key=lambda pair: pair[0])] if losers else []


def _outcome(run: RunRecords) -> str:
    return {"finished": "tried", "failed": "failed", "pending": "not finished"}[run.state]


def _whole_cost(run: RunRecords) -> str:
    return duration(sum(cost.seconds for cost in run.result.phases.values())) if finished([run]) else MISSING
