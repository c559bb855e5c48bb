"""Every pair of methods, tested: the numbers behind 'tied' and 'beats the base'."""

from __future__ import annotations

from tunelab.report.frame import Group
from tunelab.report.numbers import bounds, number, probability, score_decimals
from tunelab.report.tables import Cell, Column, Table, words


def pairwise_table(group: Group) -> Table | None:
    """One line a pair and metric, in the order of the rows."""
    if not group.pairs:
        return None
    rows = []
    for pair in group.pairs:
        means = [cell.mean for row in group.rows if (cell := row.scores.get(pair.metric)) is not None]
        decimals = score_decimals(means)
        test = pair.test
        rows.append((
            Cell(pair.metric), Cell(test.first), Cell(test.second),
            Cell(number(test.difference, decimals), below=bounds(test.low, test.high, decimals)),
            Cell(probability(test.p)), Cell(probability(test.p_holm)),
            Cell("different" if pair.different else "tied", tone="best" if pair.different else ""),
        ))  # fmt: skip
    columns = (
        words("Metric"), words("First"), words("Second"), Column("First − second"), Column("p"),
        Column("p, Holm-corrected"), words("At 5 %"),
    )  # fmt: skip
    feet = (
        "Bootstrap over the test examples, the same draws for both methods, with the variation between a method's "
        "seeds added; p two-sided, Holm-corrected over the pairs of one metric.",
        "Tied means not told apart with these examples and seeds. It does not prove that two methods are equal.",
    )
    return Table("", columns, tuple(rows), feet)
