"""Where the numbers were made, and what did not get made: versions, machines, failures, what is still missing."""

from __future__ import annotations

from collections.abc import Callable

from tunelab.report.frame import Comparison
from tunelab.report.marks import surroundings
from tunelab.report.numbers import MISSING, rate
from tunelab.report.reading import finished
from tunelab.report.tables import Table, cells, words


def provenance_table(comparison: Comparison) -> Table | None:
    """One line a fact; several values where runs differ, each with its number of runs."""
    runs = [run for group in comparison.groups for run in finished(group.runs)]
    if not runs:
        return None
    values: dict[str, dict[str, int]] = {}
    for run in runs:
        made = run.result.provenance
        facts = {**surroundings(run), "git commit": made.git or "not in a checkout"}
        for fact, value in facts.items():
            counts = values.setdefault(fact, {})
            counts[value] = counts.get(value, 0) + 1
    rows = [cells(fact, _values(counts)) for fact, counts in values.items()]
    started = sorted(run.result.provenance.started for run in runs)
    rows.append(cells("started", started[0] if started[0] == started[-1] else f"{started[0]} to {started[-1]}"))
    return Table("", (words("Fact"), words("Value")), tuple(rows), (f"Over {len(runs)} finished runs.",))


def signatures_table(comparison: Comparison) -> Table | None:
    """What exactly each metric computed."""
    found = dict.fromkeys(
        (group.task, name, score.signature, "higher is better" if score.higher_is_better else "lower is better")
        for group in comparison.groups
        for run in finished(group.runs)
        for name, score in run.result.scores.items()
    )
    if not found:
        return None
    return Table(
        "", tuple(map(words, ("Task", "Metric", "Signature", "Direction"))), tuple(cells(*each) for each in found)
    )


def failures_table(comparison: Comparison) -> Table | None:
    """Every failed run and its error."""
    if not comparison.failures:
        return None
    head, at = _back_end(comparison)
    rows = tuple(
        cells(each.method, each.task, *at(row.backend), str(each.seed), rate(each.learning_rate), each.error, each.run)
        for row in comparison.rows
        for each in row.failures
    )
    columns = tuple(map(words, ("Method", "Task", *head, "Seed", "Learning rate", "Error", "Run")))
    return Table("", columns, rows, ("A failed run is in no average. The next tunelab run tries it again.",))


def pending_table(comparison: Comparison) -> Table | None:
    """Every run that has neither a result nor an error."""
    if not comparison.pending:
        return None
    head, at = _back_end(comparison)
    rows = tuple(
        cells(entry.method, entry.task, *at(entry.backend), str(entry.seed), rate(entry.learning_rate), entry.id)
        for entry in comparison.pending
    )
    return Table("", tuple(map(words, ("Method", "Task", *head, "Seed", "Learning rate", "Run"))), rows)


def notes_table(comparison: Comparison) -> Table | None:
    """What the runs themselves said."""
    head, at = _back_end(comparison)
    methods: dict[tuple[str, str, str], list[str]] = {}
    for row in comparison.rows:
        for note in row.notes:
            methods.setdefault((row.task, row.backend, note), []).append(row.method)
    if not methods:
        return None
    rows = tuple(
        cells(task, *at(backend), ", ".join(dict.fromkeys(names)), note)
        for (task, backend, note), names in methods.items()
    )
    return Table("", tuple(map(words, ("Task", *head, "Methods", "Note"))), rows)


def _back_end(comparison: Comparison) -> tuple[tuple[str, ...], Callable[[str], tuple[str, ...]]]:
    """A column that names the back end, where there are several: its head, and its cell of a name."""
    several = len({group.backend for group in comparison.groups}) > 1
    return ("Back end",) if several else (), lambda name: (name,) if several else ()


def _values(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts)) or MISSING
    return "; ".join(f"{value} ({number} run{'s' if number > 1 else ''})" for value, number in counts.items())
