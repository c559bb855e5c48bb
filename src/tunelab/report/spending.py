"""What a method costs, by the study's choice of cost, and whether one is really cheaper than another.

Two costs count as the same where they differ by less than a tenth (of memory: of what is beyond the process's own,
which every method pays), or by less than the seeds of one method differ among themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunelab.entries import Cost, Deciding
from tunelab.records import RunResult
from tunelab.report.frame import Group, Row
from tunelab.report.numbers import duration, memory, three_digits, times

SAME = 0.1
"""Of the larger cost."""


class Spent(NamedTuple):
    """One method's cost."""

    value: float
    spread: float
    """Between its seeds, largest less smallest."""
    unavoidable: float = 0.0
    """Of the value: what every method pays."""

    @property
    def own(self) -> float:
        return max(0.0, self.value - self.unavoidable)


class Kind(NamedTuple):
    """How a cost is said."""

    name: str
    less: str
    more: str
    shown: Callable[[float | None], str]


KINDS: dict[Cost, Kind] = {
    "memory": Kind("peak training memory", "less memory", "more memory", memory),
    "time": Kind("training time", "less time", "more time", duration),
    "size": Kind("saved size", "smaller", "larger", lambda mib: f"{three_digits(mib)} MiB"),
    "price": Kind("price", "cheaper", "dearer", three_digits),
}
NEXT: dict[Cost, Cost] = {"memory": "time", "time": "memory", "size": "memory", "price": "memory"}
"""What decides between methods of the same cost."""


def spent(row: Row, cost: Cost, group: Group) -> Spent | None:
    """None: it was not measured."""
    results = [run.result for run in group.runs_of(row.method)]
    values = [value for result in results if (value := _measured(result, cost, group.deciding)) is not None]
    if not values:
        return None
    own = [result.process_gib for result in results if result.process_gib is not None] if cost == "memory" else []
    search = _price(row.search_seconds or 0.0, group.deciding) if cost == "price" else 0.0
    typical = max(values) if cost == "memory" else sum(values) / len(values)
    return Spent(typical + search, max(values) - min(values), min(own, default=0.0))


def is_cheaper(one: Spent, other: Spent) -> bool:
    """Beyond what counts as the same."""
    difference = other.value - one.value
    return difference > max(SAME * other.own, one.spread, other.spread)


def cheapest(rows: Sequence[Row], cost: Cost, group: Group) -> list[Row]:
    """The one with the lowest cost, and those than which it is not really cheaper; all, where none was measured."""
    known = [(row, each) for row in rows if (each := spent(row, cost, group)) is not None]
    if not known:
        return list(rows)
    lowest = min(each for _, each in known)
    return [row for row, each in known if not is_cheaper(lowest, each)]


def compared(one: Row, other: Row, group: Group) -> str:
    """'1.9x less memory, about the same time': one beside the other, by the deciding cost and the next. Empty: of one
    of them nothing was measured."""
    costs = (group.deciding.cost, NEXT[group.deciding.cost])
    return ", ".join(filter(None, (_beside(one, other, cost, group) for cost in costs)))


def _beside(one: Row, other: Row, cost: Cost, group: Group) -> str:
    mine, theirs, kind = spent(one, cost, group), spent(other, cost, group), KINDS[cost]
    if mine is None or theirs is None or not mine.value or not theirs.value:
        return ""
    if is_cheaper(mine, theirs):
        return f"{times(theirs.value, mine.value)} {kind.less} ({kind.shown(mine.value)} to {kind.shown(theirs.value)})"
    if is_cheaper(theirs, mine):
        return f"{times(mine.value, theirs.value)} {kind.more} ({kind.shown(mine.value)} to {kind.shown(theirs.value)})"
    return f"about the same {kind.name.split()[-1]}"


def _measured(result: RunResult, cost: Cost, deciding: Deciding) -> float | None:
    train = result.phases.get("train")
    if cost == "memory":
        return None if train is None else train.peak_gib
    if cost == "time":
        return None if train is None else train.seconds
    if cost == "size":
        return result.saved_mib
    return _price(sum(phase.seconds for phase in result.phases.values()), deciding)


def _price(seconds: float, deciding: Deciding) -> float:
    return seconds / 3600 * (deciding.price_per_hour or 0.0)
