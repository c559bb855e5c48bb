"""Which runs of two back ends are compared: the same method, seed and setting, finished on both.

The back ends are those of one study; where a study has one, another study's of the same task is set beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tunelab.entries import BASE, RunEntry
from tunelab.report.frame import Comparison, Group
from tunelab.report.numbers import rate, setting_text
from tunelab.report.reading import RunRecords


class Beside(NamedTuple):
    """One task on two back ends. The first of the study is the one that others are compared with."""

    first: Group
    other: Group

    @property
    def names(self) -> tuple[str, str]:
        return self.first.backend, self.other.backend

    @property
    def study(self) -> str:
        """Both names, where the back ends are of two studies."""
        return " + ".join(dict.fromkeys(group.study for group in self))

    @property
    def methods(self) -> list[str]:
        """Of both, in the order of the rows."""
        return list(dict.fromkeys(row.method for group in self for row in group.rows))


class Pair(NamedTuple):
    """Two finished runs of the same method, seed and setting."""

    first: RunRecords
    other: RunRecords

    @property
    def method(self) -> str:
        return self.first.entry.method

    @property
    def seed(self) -> int:
        return self.first.entry.seed

    @property
    def is_trained(self) -> bool:
        return self.method != BASE


class Paired(NamedTuple):
    pairs: tuple[Pair, ...]
    alone: tuple[tuple[str, str], ...]
    """Runs that cannot be compared, and why."""


def beside_first(comparison: Comparison) -> list[Beside]:
    """Empty for one back end."""
    first: dict[tuple[str, str], Group] = {}
    found = []
    for group in comparison.groups:
        start = first.setdefault((group.study, group.task), group)
        if start is not group:
            found.append(Beside(start, group))
    paired = {id(group) for beside in found for group in beside}
    alone = [group for group in first.values() if id(group) not in paired]
    for place, group in enumerate(alone):
        start = next((each for each in alone[:place] if _is_other_end(each, group)), None)
        if start is not None:
            found.append(Beside(start, group))
    return found


def _is_other_end(first: Group, other: Group) -> bool:
    return first.task == other.task and first.backend != other.backend


def paired(beside: Beside) -> Paired:
    """Every run of both, in a pair or with the reason why it is in none."""
    first, other = (_by_setting(group) for group in beside)
    pairs, alone = [], []
    for key in dict.fromkeys([*first, *other]):
        mine, theirs = first.get(key), other.get(key)
        if mine is not None and theirs is not None and mine.state == theirs.state == "finished":
            pairs.append(Pair(mine, theirs))
        else:
            states = zip(beside.names, (mine, theirs), strict=True)
            known = mine or theirs
            assert known is not None
            alone.append((run_text(known.entry), "; ".join(f"{name}: {_state(run)}" for name, run in states)))
    return Paired(tuple(pairs), tuple(alone))


def trained_of(pairs: Sequence[Pair]) -> Iterator[tuple[str, list[Pair]]]:
    """By method, without the base."""
    for method in dict.fromkeys(pair.method for pair in pairs if pair.is_trained):
        yield method, [pair for pair in pairs if pair.method == method]


def run_text(entry: RunEntry) -> str:
    """'lora, seed 0, learning rate 3e-4, rank=8'."""
    rated = "" if entry.learning_rate is None else f"learning rate {rate(entry.learning_rate)}"
    return ", ".join(filter(None, (entry.method, f"seed {entry.seed}", rated, setting_text(dict(entry.setting)))))


def _by_setting(group: Group) -> dict[tuple, RunRecords]:
    runs = (*group.runs, *group.diverged)
    return {(run.entry.method, run.entry.seed, run.entry.learning_rate, run.entry.setting): run for run in runs}


def _state(run: RunRecords | None) -> str:
    if run is None:
        return "not planned (not supported there, or a search chose otherwise)"
    if run.state == "pending":
        return "has not finished"
    return run.state if run.error is None else f"{run.state}: {run.error}"
