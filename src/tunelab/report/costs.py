"""Where the time and the memory went: the phases of every method, and what the learning-rate search cost."""

from __future__ import annotations

from tunelab.report.frame import Group
from tunelab.report.numbers import MISSING, duration, in_unit, memory_unit, number, rate, time_unit
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
    time = time_unit(cost.seconds for cost in everything)
    memory = memory_unit(cost.peak_gib for cost in everything)
    rows = []
    for method, runs in costs.items():
        row = [Cell(method)]
        for name in names:
            seconds = [phases[name].seconds for phases in runs if name in phases]
            peaks = [phases[name].peak_gib for phases in runs if name in phases and phases[name].peak_gib is not None]
            mean = sum(seconds) / len(seconds) if seconds else None
            row.append(Cell(in_unit(mean, time), below=f"{in_unit(max(peaks), memory)} {memory.name}" if peaks else ""))
        rows.append(tuple(row))
    feet = (f"Mean wall time in {time.name}; below it the largest peak memory in that phase, absolute.",)
    return Table("", (words("Method"), *(Column(name, time.name) for name in names)), tuple(rows), feet)


def search_table(group: Group) -> Table | None:
    """Every learning rate of every method with more than one; the lowest validation loss on the first seed won."""
    rows = []
    for row in group.rows:
        searched = _searched(group, row.method)
        rates = [run.entry.learning_rate for run in searched]
        for run in sorted(searched, key=lambda run: run.entry.learning_rate or 0.0):
            won = run.entry.role == "run" and run.state == "finished"
            edge = won and len(rates) > 1 and run.entry.learning_rate in (min(rates), max(rates))
            note = ("kept; at the edge of what was tried" if edge else "kept") if won else _outcome(run)
            loss = run.result.validation_loss if run.result else None
            rows.append((
                Cell(row.method), Cell(rate(run.entry.learning_rate)),
                Cell(number(loss, 4), tone="best" if won else ""), Cell(_whole_cost(run)), Cell(note),
            ))  # fmt: skip
    if not rows:
        return None
    feet = (
        "Each rate is a run of its own on the first seed with the full budget. Test scores take no part in the choice.",
    )
    columns = (
        words("Method"),
        Column("Learning rate"),
        Column("Validation loss", "nats"),
        Column("Cost, all phases"),
        words("Outcome"),
    )
    return Table("", columns, tuple(rows), feet)


def _searched(group: Group, method: str) -> list[RunRecords]:
    """The candidates of a search: the losers, and the winner on the same seed."""
    runs = [run for run in group.runs if run.entry.method == method and run.entry.num_tried > 1]
    losers = [run for run in runs if run.entry.role == "candidate"]
    seeds = {run.entry.seed for run in losers}
    known = [run for run in runs if run.entry.seed in seeds and run.entry.learning_rate is not None]
    return known if losers else []


def _outcome(run: RunRecords) -> str:
    return {"finished": "tried", "failed": "failed", "pending": "not finished"}[run.state]


def _whole_cost(run: RunRecords) -> str:
    return duration(sum(cost.seconds for cost in run.result.phases.values())) if finished([run]) else MISSING
