"""Predicted memory beside what was measured, phase by phase: what a process held above what it was before it had a
model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tunelab.entries import HOLES, MARKED, MIB, PROCESS, Forecast
from tunelab.records import RunResult
from tunelab.report.frame import Comparison
from tunelab.report.tables import Cell, Column, Table, words

PARTS = ("weights", "gradients", "optimizer state", "kept for backward", "head")
FEET = (
    "MiB at the highest moment of training, above the process without a model; of the first seed, its largest "
    "micro-batch. Predicted from shapes, without weights; * more than {:.0%} beside what was measured.",
    "other: temporary tensors, data and libraries in use, and (CPU) what glibc's heap holds between tensors, for which "
    "a share is taken.",
)


OTHERS = ("load", "validate", "evaluate", "save")
"""Phases beside training."""
OTHERS_FEET = (
    "As above, at the highest moment of each other phase. validate: losses, with the optimizer's state; evaluate: the "
    "same or, where it takes more, texts with their keys, values and a plain fp32 copy of the weights; save: "
    "weights and state. On a CPU what glibc's heap keeps of training is in all of these, and load is not shown: "
    "weights in a file are read when they are first used.",
)


def foretold_table(comparison: Comparison) -> Table | None:
    """A row a method and task of which a forecast lies beside the result; None: there is none."""
    several = len({group.task for group in comparison.groups}) > 1
    rows = [
        _row(method, task if several else None, forecast, result)
        for method, task, forecast, result in told_of(comparison)
    ]
    if not rows:
        return None
    columns = (
        words("Method"), *([words("Task")] if several else []), Column("Measured"), Column("Predicted"),
        Column("Beside"), *(Column(name.capitalize()) for name in (*PARTS, "other")),
    )  # fmt: skip
    return Table("", columns, tuple(rows), (FEET[0].format(MARKED), FEET[1]), keys=1 + several)


def foretold_phases(comparison: Comparison) -> Table | None:
    """A row a method, task and phase beside training that was measured; None: there is none."""
    several = len({group.task for group in comparison.groups}) > 1
    rows = [
        (Cell(method), *([Cell(task)] if several else []), Cell(phase), *_beside(predicted, measured))
        for method, task, forecast, result in told_of(comparison)
        for phase in OTHERS
        if (measured := measured_mib(result, phase)) is not None and (predicted := _above(forecast, phase)) > 0
    ]
    return by_phase(rows, OTHERS_FEET, several=several)


def by_phase(rows: Sequence[tuple[Cell, ...]], feet: tuple[str, ...], *, several: bool) -> Table | None:
    """Method, task where there are several, phase, and both numbers; None: there is no row."""
    if not rows:
        return None
    columns = (
        words("Method"), *([words("Task")] if several else []), words("Phase"), Column("Measured"), Column("Predicted"),
        Column("Beside"),
    )  # fmt: skip
    return Table("", columns, tuple(rows), feet, keys=2 + several)


class Told(NamedTuple):
    method: str
    task: str
    forecast: Forecast
    result: RunResult


def told_of(comparison: Comparison) -> Iterator[Told]:
    """Finished runs of which a forecast lies beside the result."""
    for group in comparison.groups:
        for run in group.runs:
            if run.state == "finished" and run.forecast is not None:
                yield Told(run.entry.method, group.task, run.forecast, run.result)


def _above(forecast: Forecast, phase: str) -> float:
    """MiB beyond the process; 0: it cannot be compared."""
    if phase == "load" and forecast.device == "cpu":
        return 0.0
    found = {"load": forecast.load, "save": forecast.save}.get(phase, forecast.evaluate)
    total = sum(found.values())
    if phase == "evaluate":
        total = max(total, sum(forecast.texts.values()))
    return (total - forecast.load.get(PROCESS, 0)) / MIB


def _beside(predicted: float, measured: float | None) -> tuple[Cell, Cell, Cell]:
    return (
        Cell("–" if measured is None else f"{measured:,.0f}"),
        Cell(f"{predicted:,.0f}"),
        Cell(beside(predicted, measured)),
    )


def beside(predicted: float, measured: float | None) -> str:
    """How far, and a star where it is far."""
    share = None if not measured else predicted / measured - 1
    return "–" if share is None else f"{share:+.0%}{' *' if abs(share) > MARKED else ''}"


def _row(method: str, task: str | None, forecast: Forecast, result: RunResult) -> tuple[Cell, ...]:
    parts = {name: size / MIB for name, size in forecast.train.items()}
    parts[PROCESS] = parts.get(PROCESS, 0.0) - forecast.load.get(PROCESS, 0) / MIB
    shown = {name: sum(size for part, size in parts.items() if part.startswith(name)) for name in PARTS}
    other = sum(size for part, size in parts.items() if part in (PROCESS, HOLES, "temporary"))
    return (
        Cell(method), *([] if task is None else [Cell(task)]),
        *_beside(sum(parts.values()), measured_mib(result)),
        *(Cell(f"{size:,.0f}") for size in shown.values()), Cell(f"{other:,.0f}"),
    )  # fmt: skip


def measured_mib(result: RunResult, phase: str = "train") -> float | None:
    """Of a phase, above the process before its model; of CUDA's allocator all that it gave out."""
    peak = result.phases[phase].peak_gib if phase in result.phases else None
    if peak is None:
        return None
    before = result.process_gib if result.provenance.device == "cpu" else 0.0
    return None if before is None else (peak - before) * 1024
