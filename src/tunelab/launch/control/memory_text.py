"""`tunelab plan --memory`: where the memory of each method goes, which of them fit, and the way out for the others."""

from __future__ import annotations

from collections import Counter

from tunelab.entries import GIB, HOLES, PROCESS, Parts
from tunelab.report.numbers import memory
from tunelab.report.tables import Cell, Column, Table, plain, words
from tunelab.study.foresight.memory import MethodMemory, StudyMemory

COLUMNS = ("weights", "gradients", "optimizer state", "kept for backward", "head", "other")
HEADS = ("Weights", "Grads", "State", "Kept", "Head", "Other")


def memory_text(found: StudyMemory, *, width: int | None = None) -> str:
    """The table, and a line for each method that does not fit."""
    return plain(memory_table(found)._replace(feet=(*ways(found), *found.notes)), width=width)


def summary(found: StudyMemory | None) -> list[str]:
    """What a plan says of it in any case: the peaks, and a line for each method that does not fit."""
    if found is None:
        return ["Predicted memory and time: tunelab plan with --memory, with --time"]
    told = {(each.method, each.forecast.peak) for each in found.methods if each.forecast is not None}
    if not told:
        return []
    highest = {label: max(size for other, size in told if other == label) for label, _ in told}
    labels = list(dict.fromkeys(each.method for each in found.methods if each.method in highest))
    peaks = ", ".join(f"{label} {memory(highest[label] / GIB)}" for label in labels)
    place = "this machine's GPU" if found.device == "cuda" else "this processor"
    limit = f"{place} ({memory(found.limit / GIB)})"
    return [f"Predicted peak memory on {limit}: {peaks}; by part, or elsewhere: --memory", *ways(found)]


def ways(found: StudyMemory) -> list[str]:
    """A line for each method that does not fit."""
    return [line for each in found.methods if each.fits is False for line in _way_lines(each)]


def memory_table(found: StudyMemory) -> Table:
    """A row a method and task: the highest moment of training, by what is held."""
    place = "a GPU" if found.device == "cuda" else "this processor"
    several = len({each.task for each in found.methods}) > 1
    return Table(
        f"{found.study}: predicted memory on {place}, limit {memory(found.limit / GIB)}",
        (
            words("Method"),
            *([words("Task")] if several else []),
            *(Column(head) for head in HEADS),
            Column("Peak"),
            words("Fits"),
        ),
        tuple(_row(each, several=several) for each in found.methods),
        keys=1 + several,
    )


def _row(each: MethodMemory, *, several: bool) -> tuple[Cell, ...]:
    parts = {} if each.forecast is None else by_column(each.forecast.train)
    sizes = [memory(parts[name] / GIB) if name in parts else "–" for name in COLUMNS]
    peak = Cell("–") if each.forecast is None else Cell(memory(each.forecast.peak / GIB))
    verdict = {True: "yes", False: "no", None: "–"}[each.fits]
    return (
        Cell(each.method), *([Cell(each.task)] if several else []), *map(Cell, sizes), peak,
        Cell(verdict),
    )  # fmt: skip


def by_column(parts: Parts) -> Counter[str]:
    """Parts of a forecast, added up to what a table has room for."""
    found = Counter[str]()
    for name, size in parts.items():
        column = "weights" if name.startswith("weights") else name
        found["other" if column in (PROCESS, HOLES, "temporary") else column] += size
    return found


def _way_lines(each: MethodMemory) -> list[str]:
    assert each.forecast is not None
    highest = f"the peak is that of {each.forecast.highest}"
    if each.way_out is None:
        return [f"{each.method} does not fit ({highest}), nor with smaller micro-batches, checkpointed activations, an "
                "8-bit optimizer or a base of 4 bits where it can have them"]  # fmt: skip
    changes, peak = ", ".join(each.way_out.said), memory(each.way_out.forecast.peak / GIB)
    return [f"{each.method} does not fit ({highest}); with {changes}: {peak}"]
