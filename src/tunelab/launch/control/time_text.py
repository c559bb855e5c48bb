"""`tunelab plan --time`: how long one run of each method takes, and all runs of the study."""

from __future__ import annotations

from tunelab.report.numbers import duration, significant
from tunelab.report.tables import Cell, Column, Table, plain, words
from tunelab.study.foresight.time import MethodTime, StudyTime


def time_text(found: StudyTime, *, width: int | None = None) -> str:
    return plain(time_table(found)._replace(feet=(total(found), *found.notes)), width=width)


def time_table(found: StudyTime) -> Table:
    """A row a method and task."""
    several = len({each.task for each in found.methods}) > 1
    heads = ("Steps", "Step", "Train", "Validate", "Evaluate", "Run", "Runs", "All")
    return Table(
        f"{found.study}: predicted time on {found.place}",
        (words("Method"), *([words("Task")] if several else []), *map(Column, heads)),
        tuple(_row(each, several=several) for each in found.methods),
        keys=1 + several,
    )


def _row(each: MethodTime, *, several: bool) -> tuple[Cell, ...]:
    took = each.duration
    own = ["–"] * 6
    if took is not None:
        own = [f"{took.steps:,}", *map(duration, (took.step, took.train, took.validation, took.evaluation, took.all))]
    everything = "–" if each.all is None else duration(each.all)
    cells = (each.method, *([each.task] if several else []), *own, str(each.num_runs), everything)
    return tuple(map(Cell, cells))


def total(found: StudyTime) -> str:
    """A line."""
    told = [each for each in found.methods if each.duration is not None]
    if not told:
        return "The time of none of these methods can be told."
    more = []
    if found.price is not None:
        more.append(f"{significant(found.price)} {found.currency}".rstrip())
    if found.energy is not None:
        more.append(f"{significant(found.energy / 1000)} kWh by the power that was given")
    of = "these methods" if len(told) == len(found.methods) else "the methods with a time"
    return ", ".join([f"All runs of {of}: {duration(found.seconds)} of one device", *more])
