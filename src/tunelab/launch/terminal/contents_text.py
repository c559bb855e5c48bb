"""What `tunelab list runs` and `list results` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunelab.report.numbers import MISSING, number, rate, score_decimals, three_digits
from tunelab.report.tables import Cell, Column, Table, Tone, cells, plain, words
from tunelab.study.verbs.contents import ListedResults, ListedRun


def runs_table(folder: Path, runs: Sequence[ListedRun], *, width: int | None) -> str:
    """A row a run: its setting, how it stands, what it scored; its folder last, below `folder`/runs."""
    several = {run.backend for run in runs if run.backend} > {"torch"}
    columns = (
        words("Method"), words("Task"), Column("Seed"), *([words("Back end")] if several else []), Column("Rate"),
        words("State"), Column("Score"), words("Metric"), Column("Validation loss"), Column("Size", "MiB"),
        words("Run"),
    )  # fmt: skip
    finished = sum(run.state == "finished" for run in runs)
    caption = f"{folder}: {finished} of {len(runs)} runs finished"
    feet = (f"A run's folder: {folder / 'runs'}/RUN. Score: the metric that decides.",) if runs else ()
    rows = tuple(_row(run, several=several) for run in runs)
    return plain(Table(caption, columns, rows, feet, keys=3), width=width)


def _row(run: ListedRun, *, several: bool) -> tuple[Cell, ...]:
    tones: dict[str, Tone] = {"failed": "bad", "unreadable": "bad"}
    return (
        *cells(run.method or MISSING, run.task or MISSING, MISSING if run.seed is None else str(run.seed)),
        *([Cell(run.backend or MISSING)] if several else []),
        Cell(rate(run.learning_rate)),
        Cell(run.state, tone=tones.get(run.state, "")),
        *cells(number(run.score, score_decimals([run.score])), run.metric or MISSING),
        *cells(number(run.validation_loss, 4), three_digits(run.mib), Path(run.path).name),
    )


def results_table(folder: Path, results: Sequence[ListedResults], *, width: int | None) -> str:
    """A row a study."""
    if not results:
        return f"{folder}: no results of `tunelab run` in it\n"
    columns = (
        words("Study"), Column("Runs"), words("State"), words("Tasks"), words("Model"), Column("Size", "MiB"),
        words("Report"), words("Folder"),
    )  # fmt: skip
    rows = tuple(
        cells(
            each.study, str(each.num_runs), ", ".join(f"{number} {state}" for state, number in each.states.items()),
            ", ".join(each.tasks) or MISSING, each.model or MISSING, three_digits(each.mib),
            "report.html" if each.report else "none yet", each.path,
        )
        for each in results
    )  # fmt: skip
    return plain(Table("", columns, rows), width=width)
