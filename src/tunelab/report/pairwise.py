"""Every pair of methods, tested: the numbers behind 'tied' and 'beats the base'."""

from __future__ import annotations

from tunelab.evaluation.significance import PairTest
from tunelab.report.frame import Group
from tunelab.report.numbers import MISSING, bounds, count, number, probability, score_decimals
from tunelab.report.quality import Pair
from tunelab.report.tables import Cell, Column, Table, words

FEET = (
    "Bootstrap over the test examples, the same draws for both methods, with the variation between a method's seeds "
    "added; p two-sided, Holm-corrected over the pairs of one metric.",
    "Tied means not told apart with these examples and seeds. It does not prove that two methods are equal.",
    "Effect: the difference in standard deviations of one example's difference. Examples needed: so many test examples "
    "would tell a difference of this size apart in 8 of 10 studies; where seeds hide it, only more seeds can.",
)

MOST_LINES = 12
"""Pairs that are read as a list; more are shown as a matrix first."""


def matrix_table(group: Group) -> Table | None:
    """The first metric's pairs as a triangle, where a list of all pairs would be long."""
    if len(group.pairs) <= MOST_LINES:
        return None
    metric = group.metrics[0]
    pairs = {(pair.test.first, pair.test.second): pair for pair in group.pairs if pair.metric == metric}
    labels = list(dict.fromkeys(label for both in pairs for label in both))
    if not pairs:
        return None
    decimals = score_decimals(cell.mean for row in group.rows if (cell := row.scores.get(metric)) is not None)
    rows = tuple(
        (Cell(second), *(_crossing(pairs.get((first, second)), decimals) for first in labels[:-1]))
        for second in labels[1:]
    )
    feet = (
        f"{metric}: the line's method minus the column's; below it p, Holm-corrected. Bold: different at 5 %.",
        *FEET,
    )
    return Table("", (words("Method"), *map(Column, labels[:-1])), rows, feet)


def _crossing(pair: Pair | None, decimals: int) -> Cell:
    if pair is None:
        return Cell("")
    tone = "best" if pair.different else ""
    return Cell(number(-pair.test.difference, decimals), below=probability(pair.test.p_holm), tone=tone)


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
            Cell(number(test.effect, 2)), Cell(probability(test.p)), Cell(probability(test.p_holm)),
            Cell("different" if pair.different else "tied", tone="best" if pair.different else ""),
            Cell("" if pair.different else _needed(test)),
        ))  # fmt: skip
    columns = (
        words("Metric"), words("First"), words("Second"), Column("First − second"), Column("Effect"), Column("p"),
        Column("p, Holm-corrected"), words("At 5 %"), Column("Examples needed"),
    )  # fmt: skip
    return Table("", columns, tuple(rows), FEET)


def _needed(test: PairTest) -> str:
    if test.effect is None:  # nothing differs from one example to the next
        return MISSING
    return "more seeds" if test.examples_needed is None else count(test.examples_needed)
