"""Where the time and the memory went: the phases of every method, and what the learning-rate search cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tunelab.records import PhaseCost
from tunelab.report.devices import highest_in_all
from tunelab.report.frame import Group, Row
from tunelab.report.numbers import MISSING, Unit, duration, in_unit, memory_unit, number, rate, three_digits
from tunelab.report.reading import RunRecords, whole_seconds
from tunelab.report.search import Edge, candidates, edge_of_winner
from tunelab.report.tables import Cell, Column, Table, words

SPREAD = "In all: seconds times devices, and the peaks of all devices added."
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
    rows = tuple(
        (Cell(row.method), *(_phase(name, costs[row.method], memory=memory) for name in names), _speed(row))
        for row in group.rows
        if row.method in costs
    )
    feet = (
        "Mean wall time; below it the largest peak memory in that phase, absolute.",
        "Tokens per second of the train phase, padding and the first steps left out.",
        *([SPREAD] if any(cost.device_seconds is not None for cost in everything) else []),
    )
    columns = (words("Method"), *(Column(name, "s") for name in names), Column("Tokens/s"))
    return Table("", columns, rows, feet)


def _speed(row: Row) -> Cell:
    speed, each = row.tokens_per_second, row.tokens_per_second_per_device
    if speed is None:
        return Cell(MISSING)
    return Cell(f"{speed:,.0f}", below="" if each in (None, speed) else f"({each:,.0f} a device)")


def _phase(name: str, runs: Sequence[Mapping[str, PhaseCost]], *, memory: Unit) -> Cell:
    costs = [phases[name] for phases in runs if name in phases]
    mean = math.fsum(cost.seconds for cost in costs) / len(costs) if costs else None
    peak = max((cost.peak_gib for cost in costs if cost.peak_gib is not None), default=None)
    below = "" if peak is None else f"{in_unit(peak, memory)} {memory.name}"
    if any(cost.device_seconds is not None for cost in costs):
        seconds = math.fsum(cost.seconds_in_all for cost in costs) / len(costs)
        most = highest_in_all(costs)
        peaks = "" if most is None else f", {in_unit(most, memory)} {memory.name}"
        below = "; ".join(filter(None, (below, f"in all {three_digits(seconds)} s{peaks}")))
    return Cell(three_digits(mean), below=below)


def search_table(group: Group) -> Table | None:
    """Every candidate of every method with more than one; the lowest validation loss on the first seed won."""
    rows, spent, further, left_out = [], [], [], []
    everyone = [run for row in group.rows for run in candidates(group, row.method)]
    fields = list(dict.fromkeys(field for run in everyone for field, _ in run.entry.setting))
    for row in group.rows:
        searched = candidates(group, row.method)
        rows += [_tried(run, fields, edge=edge_of_winner(group, row.method)) for run in searched]
        left_out += [f"{row.method} {run.entry.num_left_out}" for run in searched[:1] if run.entry.num_left_out]
        further += [row.method] if any(run.entry.num_further for run in searched) else []
        if row.search_seconds is not None:
            spent.append(f"{row.method} {duration(row.search_seconds)}")
    if not rows:
        return None
    each, those = ("combination", "those") if fields else ("rate", "rates")
    on = "on the first seed with the full budget. Test scores take no part in the choice."
    feet = (
        f"Each {each} is a run of its own {on}",
        *([f"Spent on {those} that were not kept: {', '.join(spent)}."] if spent else []),
        *([f"Combinations that search.candidates left no place for: {', '.join(left_out)}."] if left_out else []),
        *([f"auto went one rung beyond its ladder, where the winner stood: {', '.join(further)}."] if further else []),
        *(["One that diverged is an outcome of the search; its cost is until then."] if group.diverged else []),
    )
    columns = (
        words("Method"), Column("Learning rate"), *(Column(field) for field in fields),
        Column("Validation loss", "nats"), Column("Cost, all phases"),
        words("Outcome"),
    )  # fmt: skip
    return Table("", columns, tuple(rows), feet)


def _tried(run: RunRecords, fields: Sequence[str], *, edge: Edge | None) -> tuple[Cell, ...]:
    won = run.entry.role == "run" and run.state == "finished"
    loss = run.result.validation_loss if run.state == "finished" else None
    return (
        Cell(run.entry.method),
        Cell(rate(run.entry.learning_rate)),
        *(Cell(dict(run.entry.setting).get(field, MISSING)) for field in fields),
        Cell(number(loss, 4), tone="best" if won else ""),
        _whole(run),
        Cell(_kept(edge) if won else _outcome(run)),
    )


def _whole(run: RunRecords) -> Cell:
    seconds, in_all = whole_seconds(run), whole_seconds(run, in_all=True)
    return Cell(duration(seconds), below="" if in_all == seconds else f"(in all {duration(in_all)})")


def _kept(edge: Edge | None) -> str:
    return "kept" if edge is None else f"kept; at the edge of what was tried: the {edge} rate"


def _outcome(run: RunRecords) -> str:
    if run.state == "diverged" and run.divergence is not None:
        return f"diverged at step {run.divergence.step}"
    return {"finished": "tried", "failed": "failed", "pending": "not finished"}[run.state]
