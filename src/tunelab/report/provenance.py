"""Where the numbers were made, and what did not get made: versions, machines, failures, what is still missing."""

from __future__ import annotations

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
    rows = tuple(
        cells(failure.method, failure.task, str(failure.seed), rate(failure.learning_rate), failure.error, failure.run)
        for failure in comparison.failures
    )
    columns = tuple(map(words, ("Method", "Task", "Seed", "Learning rate", "Error", "Run")))
    return Table("", columns, rows, ("A failed run is in no average. The next tunelab run tries it again.",))


def pending_table(comparison: Comparison) -> Table | None:
    """Every run that has neither a result nor an error."""
    if not comparison.pending:
        return None
    rows = tuple(
        cells(entry.method, entry.task, str(entry.seed), rate(entry.learning_rate), entry.id)
        for entry in comparison.pending
    )
    return Table("", tuple(map(words, ("Method", "Task", "Seed", "Learning rate", "Run"))), rows)


def notes_table(comparison: Comparison) -> Table | None:
    """What the runs themselves said."""
    methods: dict[tuple[str, str], list[str]] = {}
    for row in comparison.rows:
        for note in row.notes:
            methods.setdefault((row.task, note), []).append(row.method)
    if not methods:
        return None
    rows = tuple(cells(task, ", ".join(dict.fromkeys(names)), note) for (task, note), names in methods.items())
    return Table("", tuple(map(words, ("Task", "Methods", "Note"))), rows)


def _values(counts: dict[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts)) or MISSING
    return "; ".join(f"{value} ({number} run{'s' if number > 1 else ''})" for value, number in counts.items())
