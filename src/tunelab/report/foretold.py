"""Predicted memory beside what was measured, of the train phase: what a process held above what it was before it had a
model."""

from __future__ import annotations

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


def foretold_table(comparison: Comparison) -> Table | None:
    """A row a method and task of which a forecast lies beside the result; None: there is none."""
    rows = []
    several = len({group.task for group in comparison.groups}) > 1
    for group in comparison.groups:
        for run in group.runs:
            if run.state != "finished" or (forecast := run.forecast) is None:
                continue
            rows.append(_row(run.entry.method, group.task if several else None, forecast, run.result))
    if not rows:
        return None
    columns = (
        words("Method"), *([words("Task")] if several else []), Column("Measured"), Column("Predicted"),
        Column("Beside"), *(Column(name.capitalize()) for name in (*PARTS, "other")),
    )  # fmt: skip
    return Table("", columns, tuple(rows), (FEET[0].format(MARKED), FEET[1]), keys=1 + several)


def _row(method: str, task: str | None, forecast: Forecast, result: RunResult) -> tuple[Cell, ...]:
    parts = {name: size / MIB for name, size in forecast.train.items()}
    parts[PROCESS] = parts.get(PROCESS, 0.0) - forecast.load.get(PROCESS, 0) / MIB
    predicted, measured = sum(parts.values()), measured_mib(result)
    share = None if not measured else predicted / measured - 1
    beside = "–" if share is None else f"{share:+.0%}{' *' if abs(share) > MARKED else ''}"
    shown = {name: sum(size for part, size in parts.items() if part.startswith(name)) for name in PARTS}
    other = sum(size for part, size in parts.items() if part in (PROCESS, HOLES, "temporary"))
    return (
        Cell(method), *([] if task is None else [Cell(task)]),
        Cell("–" if measured is None else f"{measured:,.0f}"), Cell(f"{predicted:,.0f}"), Cell(beside),
        *(Cell(f"{size:,.0f}") for size in shown.values()), Cell(f"{other:,.0f}"),
    )  # fmt: skip


def measured_mib(result: RunResult) -> float | None:
    """Of the train phase, above the process before its model; of CUDA's allocator all that it gave out."""
    peak = result.phases["train"].peak_gib if "train" in result.phases else None
    if peak is None:
        return None
    before = result.process_gib if result.provenance.device == "cpu" else 0.0
    return None if before is None else (peak - before) * 1024
