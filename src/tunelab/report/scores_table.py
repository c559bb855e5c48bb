"""The main metric of every method on every task, and the scores of every seed."""

from __future__ import annotations

from tunelab.report.decision import score_cell
from tunelab.report.frame import Comparison, Group
from tunelab.report.numbers import MISSING, number, score_decimals
from tunelab.report.tables import Cell, Column, Table, words
from tunelab.report.verdict import place

BOLD = "Bold: as good as the best of its column, by the test. A column with nothing bold is not tested, or undecided."
GAP = f"{MISSING}: no score; why stands under the task's own table."
SEEDS = (
    "SD: standard deviation over the seeds, with N − 1. It is of these trainings alone; the intervals above hold the "
    "choice of test examples too."
)


def task_matrix(comparison: Comparison) -> Table | None:
    """Method x task, each task by the metric that decides; None for one task."""
    groups = [group for group in comparison.groups if group.metrics]
    if len(comparison.groups) < 2 or not groups:
        return None
    methods = dict.fromkeys(row.method for row in comparison.rows)
    of_group = [{row.method: row for row in group.rows} for group in groups]
    rows = tuple(
        (
            Cell(method),
            *(
                score_cell(rows[method], group.metrics[0], group) if method in rows else Cell(MISSING)
                for group, rows in zip(groups, of_group, strict=True)
            ),
        )
        for method in methods
    )
    columns = (words("Method"), *(_head(group, comparison) for group in groups))
    has_gap = any(cell.text == MISSING for row in rows for cell in row)
    return Table("", columns, rows, (BOLD, *([GAP] if has_gap else [])))


def seeds_table(group: Group) -> Table | None:
    """A line a metric and method; None where no method has a second seed."""
    cells = [
        (metric, row, row.scores[metric]) for metric in group.metrics for row in group.rows if metric in row.scores
    ]
    seeds = sorted({seed for _, _, cell in cells for seed in cell.by_seed})
    if not any(len(cell.by_seed) > 1 for _, _, cell in cells):
        return None
    rows = []
    for metric, row, cell in cells:
        if not cell.by_seed:
            continue
        decimals = score_decimals([other.mean for name, _, other in cells if name == metric]) + 1
        rows.append((
            Cell(metric), Cell(row.method), *(Cell(number(cell.by_seed.get(seed), decimals)) for seed in seeds),
            Cell(number(cell.mean, decimals)), Cell(number(cell.sd, decimals)),
        ))  # fmt: skip
    seed_columns = (Column(f"Seed {seed}") for seed in seeds)
    columns = (words("Metric"), words("Method"), *seed_columns, Column("Mean"), Column("SD"))
    return Table("", columns, tuple(rows), (SEEDS,))


def _head(group: Group, comparison: Comparison) -> Column:
    arrow = "↑" if group.higher_is_better(group.metrics[0]) else "↓"
    return Column(place(group, comparison.groups), f"{group.metrics[0]} {arrow}")
