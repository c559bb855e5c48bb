"""Scores of the methods of one group: means over seeds, intervals, ties with the best, tests against the base.

Everything is a re-weighting of the per-example statistics in predictions.jsonl (see evaluation/significance.py).
Where they or the metric's object are missing, the recorded scores give the mean and nothing is tested.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.significance import LEVEL, Comparison, PairTest, compare
from tunelab.records import BASE
from tunelab.report.reading import RunRecords

# S seeds, N examples, K statistics of the metric


class ScoreCell(NamedTuple):
    """One metric of one method. None: nothing has finished, or it was not tested."""

    mean: float | None
    """Over the finished seeds."""
    low: float | None
    high: float | None
    tied_best: bool | None
    """The best of the group, or not told apart from it."""
    beats_base: bool | None
    """Better than the base, and told apart from it; None for the base."""


class Pair(NamedTuple):
    """Two methods tested on one metric."""

    metric: str
    test: PairTest

    @property
    def different(self) -> bool:
        """Told apart, after Holm's correction over the pairs of this metric."""
        return self.test.p_holm < LEVEL

    def better(self, metric: Metric) -> str:
        """The label of the one with the better mean."""
        return self.test.first if (self.test.difference > 0) == metric.higher_is_better else self.test.second


class Quality(NamedTuple):
    cells: dict[str, dict[str, ScoreCell]]
    """By method, then by metric."""
    pairs: tuple[Pair, ...]
    notes: dict[str, list[str]]
    """By method: what could not be used."""


def assess(runs: Mapping[str, Sequence[RunRecords]], *, names: Sequence[str], metrics: Mapping[str, Metric]) -> Quality:
    """`runs`: by method, the finished ones that its row averages; `names`: the group's metrics in order."""
    cells: dict[str, dict[str, ScoreCell]] = {method: {} for method in runs}
    notes: dict[str, list[str]] = {method: [] for method in runs}
    pairs: list[Pair] = []
    shared = _shared_ids(runs, notes)
    for name in names:
        metric = metrics.get(name)
        comparable = {method: _of_one_signature(done, name, runs, notes[method]) for method, done in runs.items()}
        tested = _tested(comparable, name, metric, shared)
        of_name = [] if tested is None else [Pair(name, test) for test in tested.pairs]
        pairs += of_name
        for method, done in comparable.items():
            notes[method] += [*_missing(name, done), *unread(name, done)]
            beats_base = _beats_base(method, of_name, metric)
            cells[method][name] = _cell(method, name, done, tested)._replace(beats_base=beats_base)
    return Quality(cells, tuple(pairs), notes)


def _of_one_signature(
    done: Sequence[RunRecords], name: str, runs: Mapping[str, Sequence[RunRecords]], notes: list[str]
) -> Sequence[RunRecords]:
    """Those of a method's runs whose score was computed as most of the group's: no column mixes two ways."""
    scores = [run.result.scores.get(name) for every in runs.values() for run in every]
    signatures = Counter(score.signature for score in scores if score is not None and not score.missing)
    if len(signatures) < 2:
        return done
    kept = signatures.most_common(1)[0][0]
    others = [run for run in done if name in run.result.scores and run.result.scores[name].signature != kept]
    if others:
        notes.append(
            f"{name}: {len(others)} run(s) scored as {others[0].result.scores[name].signature} are left out of a "
            f"column scored as {kept}; `tunelab run` scores them again from their stored predictions"
        )
    return [run for run in done if run not in others]


def _tested(
    runs: Mapping[str, Sequence[RunRecords]], name: str, metric: Metric | None, shared: list[str]
) -> Comparison | None:
    if metric is not None and metric.reads == "general":
        shared = [row.id for row in next((run.general for done in runs.values() for run in done if run.general), ())]
    if metric is None or not shared:
        return None
    return compare({method: _statistics_SNK(done, name, metric, shared) for method, done in runs.items()}, metric)


def _cell(method: str, name: str, done: Sequence[RunRecords], tested: Comparison | None) -> ScoreCell:
    scores = [run.result.scores[name] for run in done if name in run.result.scores]
    values = [score.value for score in scores if score.value is not None and math.isfinite(score.value)]
    mean = math.fsum(values) / len(values) if values else None
    if tested is not None and (interval := tested.intervals[method]) is not None:
        return ScoreCell(mean, interval.low, interval.high, tested.tied_best[method], None)
    low, high = (scores[0].low, scores[0].high) if len(scores) == 1 else (None, None)
    return ScoreCell(mean, low, high, None, None)


def _missing(name: str, done: Sequence[RunRecords]) -> list[str]:
    """Why a metric has no value; once for all seeds that say the same."""
    reasons = [run.result.scores[name].missing for run in done if name in run.result.scores]
    return [f"{name} is missing: {reason}" for reason in dict.fromkeys(reasons) if reason]


def unread(name: str, done: Sequence[RunRecords]) -> list[str]:
    """What a metric does not read of the references; once for all runs that say the same."""
    said = [run.result.scores[name].note for run in done if name in run.result.scores]
    return [f"{name}: {note}" for note in dict.fromkeys(said) if note]


def _beats_base(method: str, pairs: Sequence[Pair], metric: Metric | None) -> bool | None:
    if metric is None or metric.reads == "general":  # a rise over the base cannot be below the base's
        return None
    for pair in pairs:
        if {pair.test.first, pair.test.second} == {method, BASE}:
            return pair.different and pair.better(metric) == method
    return None


def _shared_ids(runs: Mapping[str, Sequence[RunRecords]], notes: dict[str, list[str]]) -> list[str]:
    """Test examples that every run has: only these can be paired. Fewer than a run has is noted on its method."""
    found = [[prediction.id for prediction in run.predictions] for done in runs.values() for run in done]
    found = [ids for ids in found if ids]
    if not found:
        return []
    shared = set.intersection(*map(set, found))
    for method, done in runs.items():
        missing = max((len(run.predictions) - len(shared) for run in done if run.predictions), default=0)
        if missing:
            notes[method].append(f"{missing} test examples are not in every run: intervals and tests leave them out")
    return [id for id in found[0] if id in shared]


def _statistics_SNK(done: Sequence[RunRecords], name: str, metric: Metric, shared: list[str]) -> np.ndarray | None:
    """None when one of the method's runs lacks this metric's statistics."""
    seeds = []
    for run in done:
        rows = {prediction.id: prediction.statistics.get(name) for prediction in run.scored_by(metric)}
        chosen = [rows.get(id) for id in shared]
        if any(row is None for row in chosen):
            return None
        seeds.append(np.array(chosen, dtype=np.float64))
    return np.stack(seeds) if seeds else None
