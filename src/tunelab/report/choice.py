"""Which way to keep, by a fixed rule; verdict.py puts it in words.

Of the methods that are as good as the best and beat the base, the cheapest. Of those that cost the same, the one that
is cheaper in the next cost; then the one with the best mean. Nothing is kept while that is undecided, or on one seed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tunelab.entries import BASE
from tunelab.report.frame import Group, Row
from tunelab.report.quality import ScoreCell
from tunelab.report.spending import NEXT, cheapest, is_cheaper, spent

Reason = Literal["nothing finished", "all the same", "not tested", "one seed", "base", "undecided", "kept"]


class Choice(NamedTuple):
    """What to keep on one task, and the rows in their roles."""

    reason: Reason
    keep: str | None
    """A method, 'base' when none is shown to beat it, None when that cannot be said."""
    best: Row | None = None
    """The best mean: of the methods that are compared, else of all."""
    good: tuple[Row, ...] = ()
    """As good as the best, in the order of their means."""
    undecided: tuple[Row, ...] = ()
    worse: tuple[Row, ...] = ()
    one_seed: tuple[Row, ...] = ()
    """Beside others with several: not compared."""
    not_compared: tuple[Row, ...] = ()
    """For another reason: no statistics, or a score that is not finite."""
    same_cost: tuple[Row, ...] = ()
    """As good as the kept one, and as cheap."""


def choose(group: Group) -> Choice:
    """By the group's first metric, which decides."""
    scored = [row for row in group.rows if first(row, group) is not None]
    trained = [row for row in scored if row.method != BASE]
    if not trained:
        return Choice("nothing finished", None)
    best = _best(trained, group)
    if len(scored) > len(trained) and len({row.scores[group.metrics[0]].mean for row in scored}) == 1:
        return Choice("all the same", None, best)
    compared = [row for row in trained if first_cell(row, group).word is not None]
    if not compared:
        return Choice("one seed" if max(row.num_seeds for row in trained) == 1 else "not tested", None, best)
    by_word = {
        word: tuple(sorted((row for row in compared if first_cell(row, group).word == word), key=_lacks(group)))
        for word in ("as good", "undecided", "worse")
    }
    roles = Choice(
        "undecided", None, _best(compared, group), by_word["as good"], by_word["undecided"], by_word["worse"],
        tuple(row for row in trained if row not in compared and row.num_seeds == 1),
        tuple(row for row in trained if row not in compared and row.num_seeds != 1),
    )  # fmt: skip
    beats = [first_cell(row, group).beats_base for row in compared]
    if beats and not any(beat is not False for beat in beats):
        return roles._replace(reason="base", keep=BASE)
    worthy = [row for row in roles.good if first_cell(row, group).beats_base is not False]
    if not worthy:
        return roles
    same = cheapest(worthy, group.deciding.cost, group)
    kept = cheapest(same, NEXT[group.deciding.cost], group)[0]  # in the order of the means
    return roles._replace(
        reason="kept", keep=kept.method, same_cost=tuple(row for row in same if row is not kept)
    )  # fmt: skip


def costs_less(row: Row, kept: Row, group: Group) -> bool:
    """Whether an undecided row may be kept instead, if it is as good; also where its cost is not known."""
    mine, theirs = spent(row, group.deciding.cost, group), spent(kept, group.deciding.cost, group)
    return mine is None or theirs is None or not is_cheaper(theirs, mine)


def first(row: Row, group: Group) -> float | None:
    """A row's mean on the metric that decides."""
    cell = row.scores.get(group.metrics[0]) if group.metrics else None
    return None if cell is None else cell.mean


def first_cell(row: Row, group: Group) -> ScoreCell:
    """Of a row that has one."""
    return row.scores[group.metrics[0]]


def _best(rows: list[Row], group: Group) -> Row:
    sign = 1 if group.higher_is_better(group.metrics[0]) else -1
    return max(rows, key=lambda row: sign * (first(row, group) or 0.0))


def _lacks(group: Group):
    return lambda row: first_cell(row, group).lacks or 0.0
