"""The final metrics of two back ends, method by method: means over the same seeds, their difference, and the test.

The test is that of methods (quality.py, significance/beside_best.py), with the two back ends of a method in the place
of two methods: paired by test example, seeds as independent draws, the study's margin. Back ends that share seeds
scatter less between them than that, so its limits are rather too wide than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tunelab.contracts import Metric
from tunelab.entries import BASE
from tunelab.report.alignment.pairs import Beside
from tunelab.report.frame import Group
from tunelab.report.quality import Quality, ScoreCell, assess
from tunelab.report.reading import RunRecords

Word = Literal["equal", "different", "undecided"]


class Difference(NamedTuple):
    """One metric of one method on both. None: not known, or not tested."""

    first: float | None
    """Mean over the seeds that finished on both."""
    other: float | None
    low: float | None
    """95 % limits of other - first; of a metric that is compared in its logarithm, of other / first."""
    high: float | None
    word: Word | None
    """equal: both are as good, by the margin. different: one is worse. None: the base, or one seed."""
    margin: float | None
    is_ratio: bool = False
    by_less_than_margin: bool = False
    """Equal, and yet one is significantly better."""

    @property
    def value(self) -> float | None:
        return None if self.first is None or self.other is None else self.other - self.first

    @property
    def relative(self) -> float | None:
        """Absolute; None where both are 0 or one is not known."""
        if self.first is None or self.other is None or not (largest := max(abs(self.first), abs(self.other))):
            return None
        return abs(self.other - self.first) / largest


class Scores(NamedTuple):
    """One method."""

    method: str
    seeds: tuple[int, ...]
    """Finished on both; the means are over these."""
    metrics: dict[str, Difference]
    """In the task's order."""
    notes: tuple[str, ...]

    @property
    def is_tested(self) -> bool:
        return any(each.word is not None for each in self.metrics.values())


def scores_of(beside: Beside, metrics: Mapping[str, Metric]) -> list[Scores]:
    """Every method that has finished with the same seed on both."""
    found = []
    for method in beside.methods:
        seeds = sorted(set.intersection(*({run.entry.seed for run in group.runs_of(method)} for group in beside)))
        if seeds:
            found.append(_scores(beside, method, seeds, metrics))
    return found


def _scores(beside: Beside, method: str, seeds: Sequence[int], metrics: Mapping[str, Metric]) -> Scores:
    names = tuple(dict.fromkeys(name for group in beside for name in group.metrics))
    on_first, on_other = (f"{method} on {name}" for name in beside.names)
    runs = {on_first: _of(beside.first, method, seeds), on_other: _of(beside.other, method, seeds)}
    if method != BASE and (base := beside.first.runs_of(BASE) or beside.other.runs_of(BASE)):
        runs = {BASE: base, **runs}
    quality = assess(runs, names=names, metrics=metrics, deciding=beside.first.deciding)
    found = {}
    for name in _order(runs[on_first], names):
        higher = next(group.higher_is_better(name) for group in beside if name in group.metrics)
        pair = quality.cells[on_first][name], quality.cells[on_other][name]
        found[name] = _difference(pair, name, quality, sign=1 if higher else -1)
    notes = [f"{label}: {note}" for label in (on_first, on_other) for note in dict.fromkeys(quality.notes[label])]
    return Scores(method, tuple(seeds), found, tuple(notes))


def _difference(pair: tuple[ScoreCell, ScoreCell], name: str, quality: Quality, *, sign: int) -> Difference:
    """`sign`: -1 where lower is better."""
    first, other = pair
    tested = quality.comparisons.get(name)
    plain = Difference(first.mean, other.mean, None, None, None, None)
    if tested is None or first.word is None or other.word is None:
        return plain
    assert first.lacks is not None and other.lacks is not None
    behind, turned = (first, sign) if first.lacks > other.lacks else (other, -sign)
    low, high = (turned * (limit if limit is not None else math.nan) for limit in (behind.lacks_low, behind.lacks_high))
    low, high = min(low, high), max(low, high)
    if tested.in_logarithms:
        low, high = math.exp(low), math.exp(high)
    said = {first.word, other.word}
    word: Word = "different" if "worse" in said else "equal" if said == {"as good"} else "undecided"
    return plain._replace(
        low=low, high=high, word=word, margin=tested.margin, is_ratio=tested.in_logarithms,
        by_less_than_margin=word == "equal" and bool(first.better or other.better),
    )  # fmt: skip


def _of(group: Group, method: str, seeds: Sequence[int]) -> list[RunRecords]:
    return sorted((run for run in group.runs_of(method) if run.entry.seed in seeds), key=lambda run: run.entry.seed)


def _order(runs: Sequence[RunRecords], names: Sequence[str]) -> list[str]:
    """As the task lists them, which is how papers print them; `names` has the deciding one first."""
    listed = dict.fromkeys(name for run in runs for name in run.result.scores)
    return [*listed, *(name for name in names if name not in listed)]


def as_json(found: Scores) -> dict[str, Any]:
    metrics = {
        name: {**each._asdict(), "difference": each.value, "relative": each.relative}
        for name, each in found.metrics.items()
    }
    return {"seeds": list(found.seeds), "metrics": metrics, "notes": list(found.notes)}
