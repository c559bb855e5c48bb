"""Every method beside the best, on every metric: the numbers behind as good, worse and undecided."""

from __future__ import annotations

from tunelab.report.frame import Group
from tunelab.report.numbers import MISSING, bounds, number, score_decimals
from tunelab.report.tables import Cell, Column, Table, words
from tunelab.report.verdict import margin_text, needed_text

FEET = (
    "Lacks: the best mean less the method's own, in the metric's better direction; below it 95 % limits of what it "
    "lacks to the truly best method, whichever that is. They hold jointly for all methods of a metric (max-t bootstrap "
    "over the test examples, the seeds' variation added), so they are wider than those of one pair.",
    "As good: the upper limit is below the margin, for it and all with a better mean. Worse: the lower limit is above "
    "0. Undecided: neither; it does not say that two methods are equal.",
    "Would decide: seeds of every method, or test examples, in all, with which a difference of this size is decided "
    "in 8 of 10 studies.",
)


WORDS = ("as good", "undecided", "worse")


def beside_table(group: Group) -> Table | None:
    """One line a metric and method, in the order of the rows."""
    rows = []
    for metric, found in group.comparisons.items():
        means = [row.scores[metric].mean for row in group.rows if metric in row.scores]
        decimals = 3 if found.in_logarithms else score_decimals(means)
        for row in group.rows:
            cell = row.scores.get(metric)
            if cell is None or cell.word is None:
                continue
            rows.append((
                Cell(f"{metric} (logarithm)" if found.in_logarithms else metric), Cell(row.method),
                Cell(number(cell.lacks, decimals), below=bounds(cell.lacks_low, cell.lacks_high, decimals)),
                Cell(margin_text(group, metric).split(",")[0].split(" ")[0] or MISSING),
                Cell(cell.word, tone="best" if cell.word == "as good" else ""),
                Cell(", ".join(cell.better) or MISSING),
                Cell(needed_text(row, metric) or MISSING),
            ))  # fmt: skip
    if not rows:
        return None
    columns = (
        words("Metric"), words("Method"), Column("Lacks"), Column("Margin"), words("Beside the best"),
        words("Significantly better than it"), words("Would decide"),
    )  # fmt: skip
    return Table("", columns, tuple(rows), FEET)


LOOKS = (
    "Seeds were added to the undecided methods and to the best mean. A level of 3.5 % is spent over the looks "
    "(Lan and DeMets 1983, Pocock's type, over the most seeds); a word once given stays as long as the order of the "
    "means allows. Limits in the table of every method beside the best are at the last look's level. Runs that came "
    "after the last look say nothing new.",
)


def looks_table(group: Group) -> Table | None:
    """Every look at the data that was taken until the study was decided."""
    if not group.looks:
        return None
    rows = []
    for look in group.looks:
        methods = {word: [label for label, said in look.words.items() if said == word] for word in WORDS}
        rows.append((
            Cell(str(look.counted)), Cell(f"{100 * look.level:.2f} %"),
            *(Cell(", ".join(methods[word]) or MISSING) for word in WORDS),
        ))  # fmt: skip
    return Table("", (Column("Seeds"), Column("Level"), *map(words, WORDS)), tuple(rows), LOOKS)
