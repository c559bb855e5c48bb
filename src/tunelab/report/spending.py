"""What a method costs, by the study's choice of cost, and whether one is really cheaper than another.

Where rows were trained over different numbers of devices, time is seconds times devices and memory the peaks of all
devices added: more devices make no method cheaper. A price is always that of all devices.

Two costs count as the same where they differ by less than a tenth (of memory: of what is beyond the process's own,
which every method pays), or by less than the seeds of one method differ among themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunelab.config.price import cost as money
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
    short: str
    less: str
    more: str
    shown: Callable[[float | None], str]


KINDS: dict[Cost, Kind] = {
    "memory": Kind("peak training memory", "memory", "less memory", "more memory", memory),
    "time": Kind("training time", "time", "less time", "more time", duration),
    "size": Kind("saved size", "size", "smaller", "larger", lambda mib: f"{three_digits(mib)} MiB"),
    "price": Kind("price", "price", "cheaper", "dearer", three_digits),
}
OF_ONE: dict[Cost, Kind] = {
    **KINDS,
    "memory": Kind(
        "peak training memory of a device", "memory of a device", "less memory a device", "more memory a device", memory
    ),
}
IN_ALL: dict[Cost, Kind] = {
    **KINDS,
    "memory": Kind("peak training memory in all", "memory in all", "less memory in all", "more memory in all", memory),
    "time": Kind("device time of training", "device time", "less device time", "more device time", duration),
}
NEXT: dict[Cost, Cost] = {"memory": "time", "time": "memory", "size": "memory", "price": "memory"}
"""What decides between methods of the same cost."""


def kind_of(cost: Cost, group: Group) -> Kind:
    return (IN_ALL if group.compares_in_all else OF_ONE if group.is_spread else KINDS)[cost]


def spent(row: Row, cost: Cost, group: Group) -> Spent | None:
    """None: it was not measured."""
    results = [run.result for run in group.runs_of(row.method)]
    values = [value for result in results if (value := _measured(result, cost, group)) is not None]
    if not values or (group.compares_in_all and len(values) < len(results)):
        return None  # those that are known may be the ones on fewer devices
    times_devices = [(result.process_gib, result.num_devices if group.compares_in_all else 1) for result in results]
    own = [gib * number for gib, number in times_devices if gib is not None] if cost == "memory" else []
    search = _price(row.search_device_seconds or 0.0, group.deciding) if cost == "price" else 0.0
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
    mine, theirs, kind = spent(one, cost, group), spent(other, cost, group), kind_of(cost, group)
    if mine is None or theirs is None or not mine.value or not theirs.value:
        return ""
    if is_cheaper(mine, theirs):
        return f"{times(theirs.value, mine.value)} {kind.less} ({kind.shown(mine.value)} to {kind.shown(theirs.value)})"
    if is_cheaper(theirs, mine):
        return f"{times(mine.value, theirs.value)} {kind.more} ({kind.shown(mine.value)} to {kind.shown(theirs.value)})"
    return f"about the same {kind.short}"


def _measured(result: RunResult, cost: Cost, group: Group) -> float | None:
    train, in_all = result.phases.get("train"), group.compares_in_all
    if cost == "size":
        return result.saved_mib
    if cost == "price":
        return _price(sum(phase.seconds_in_all for phase in result.phases.values()), group.deciding)
    if train is None:
        return None
    if cost == "memory":
        return train.peak_in_all_gib if in_all else train.peak_gib
    return train.seconds_in_all if in_all else train.seconds


def _price(seconds: float, deciding: Deciding) -> float:
    return money(seconds, deciding.price_per_hour or 0.0)
