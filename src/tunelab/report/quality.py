"""Scores of the methods of one group: means over seeds, intervals, and each beside the best and the base.

Everything is a re-weighting of the per-example statistics in predictions.jsonl (see significance/beside_best.py).
Where they or the metric's object are missing, the recorded scores give the mean and nothing is tested.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.entries import BASE, Deciding, Look
from tunelab.report.reading import RunRecords
from tunelab.significance.beside_best import Comparison, Margin, Word, compare
from tunelab.significance.intervals import LEVEL

# S seeds, N examples, K statistics of the metric

SHARE = 0.1
"""Of the gain over the base: the margin on metrics that do not decide, where the deciding one has a number."""


class ScoreCell(NamedTuple):
    """One metric of one method. None: nothing has finished, or it was not compared."""

    mean: float | None
    """Over the finished seeds."""
    low: float | None
    high: float | None
    word: Word | None = None
    """Beside the best of the group: as good, worse or undecided. None: the base, one seed, or nothing to compare."""
    lacks: float | None = None
    """To the best mean; positive where the method is behind, whatever the metric's direction."""
    lacks_low: float | None = None
    lacks_high: float | None = None
    """Limits of what it lacks to the truly best method, simultaneous over the methods."""
    better: tuple[str, ...] = ()
    """Methods that are significantly better than it."""
    needed_seeds: int | None = None
    """Seeds of every method that would decide, in all; None: it is decided, or they alone cannot."""
    needed_examples: int | None = None
    needed_times: float | None = None
    """So many times as many seeds and examples, where neither alone can."""
    beats_base: bool | None = None
    """Significantly better than the base; None for the base."""
    by_seed: Mapping[int, float | None] = {}
    """The score of every finished seed that has one; None where it is not a finite number."""
    sd: float | None = None
    """Standard deviation over the seeds, with N - 1 in its denominator. None: fewer than two."""
    left_out: tuple[str, ...] = ()
    """Why a finished seed is not in the mean, or why there is no mean."""


class Said(NamedTuple):
    """At which level words are given, and which stand already."""

    level: float
    words: dict[str, Word]
    beaten: frozenset[str] = frozenset()
    """Methods that are known to be better than the base."""


class Quality(NamedTuple):
    cells: dict[str, dict[str, ScoreCell]]
    """By method, then by metric."""
    comparisons: dict[str, Comparison]
    """By metric; those that could be compared."""
    notes: dict[str, list[str]]
    """By method: what could not be used, and why."""


def assess(
    runs: Mapping[str, Sequence[RunRecords]], *, names: Sequence[str], metrics: Mapping[str, Metric],
    deciding: Deciding, looks: Sequence[Look] = (), level: float | None = None,
) -> Quality:  # fmt: skip
    """
    Args:
        runs: by method, the finished ones that its row averages.
        names: the metrics, the deciding one first.
        looks: that were taken at these runs and this metric (Look.is_of).
        level: of the deciding metric's words; None: what the looks say, 5 % where there are none.
    """
    ids = {method: tuple(run.entry.id for run in done) for method, done in runs.items() if done}
    cells: dict[str, dict[str, ScoreCell]] = {method: {} for method in runs}
    notes: dict[str, list[str]] = {method: [] for method in runs}
    comparisons: dict[str, Comparison] = {}
    shared = _shared_ids(runs, notes)
    for place, name in enumerate(names):
        metric = metrics.get(name)
        others = {method: _of_another_signature(done, name, runs) for method, done in runs.items()}
        comparable = {method: [run for run in done if run not in others[method][0]] for method, done in runs.items()}
        margin = Margin(deciding.share, deciding.margin) if place == 0 else Margin(deciding.share or SHARE)
        said = _said(looks, ids, level) if place == 0 else Said(LEVEL, {})
        tested = _compared(comparable, name, metric, shared, margin, said)
        if tested is not None:
            comparisons[name] = tested
        for method, done in comparable.items():
            left_out = (*others[method][1], *_missing(name, done), *_not_recorded(name, done), *_infinite(name, done))
            notes[method] += [*left_out, *unread(name, done)]
            cell = _cell(method, name, done, tested, general=_reads_general(metric))
            cells[method][name] = cell._replace(left_out=left_out, **_of_seeds(name, done))
    return Quality(cells, comparisons, notes)


def _of_another_signature(
    done: Sequence[RunRecords], name: str, runs: Mapping[str, Sequence[RunRecords]]
) -> tuple[list[RunRecords], list[str]]:
    """Those of a method's runs whose score was computed otherwise than most of the group's, and a note of them: no
    column mixes two ways."""
    scores = [run.result.scores.get(name) for every in runs.values() for run in every]
    signatures = Counter(score.signature for score in scores if score is not None and not score.missing)
    if len(signatures) < 2:
        return [], []
    kept = signatures.most_common(1)[0][0]
    others = [run for run in done if name in run.result.scores and run.result.scores[name].signature != kept]
    if not others:
        return [], []
    return others, [
        f"{name}: {len(others)} run(s) scored as {others[0].result.scores[name].signature} are left out of a "
        f"column scored as {kept}; `tunelab run` scores them again from their stored predictions"
    ]


def _reads_general(metric: Metric | None) -> bool:
    return metric is not None and metric.reads == "general"


def _compared(
    runs: Mapping[str, Sequence[RunRecords]], name: str, metric: Metric | None, shared: list[str], margin: Margin,
    said: Said,
) -> Comparison | None:  # fmt: skip
    if metric is not None and metric.reads == "general":
        shared = [row.id for row in next((run.general for done in runs.values() for run in done if run.general), ())]
    if metric is None or not shared:
        return None
    statistics = {method: _statistics_SNK(done, name, metric, shared) for method, done in runs.items()}
    return compare(
        statistics, metric, base=BASE if BASE in runs else None, margin=margin, level=said.level, claimed=said.words,
        beaten=said.beaten,
    )  # fmt: skip


def _said(looks: Sequence[Look], ids: Mapping[str, tuple[str, ...]], level: float | None) -> Said:
    """A look is taken once: of runs that came after the last one nothing new is said."""
    if level is None:
        is_last = bool(looks) and {method: set(each) for method, each in looks[-1].runs.items()} == {
            method: set(each) for method, each in ids.items()
        }
        level = LEVEL if not looks else looks[-1].level if is_last else 0.0
    words: dict[str, Word] = {
        method: word for look in looks for method, word in look.words.items() if word != "undecided"
    }
    return Said(level, words, frozenset(method for look in looks for method in look.beaten_base))


def _cell(
    method: str, name: str, done: Sequence[RunRecords], tested: Comparison | None, *, general: bool
) -> ScoreCell:  # fmt: skip
    scores = [run.result.scores[name] for run in done if name in run.result.scores]
    values = [score.value for score in scores if score.value is not None]
    values = [] if _num_infinite(name, done) else values
    mean = math.fsum(values) / len(values) if values else None
    if tested is None or (interval := tested.intervals[method]) is None:
        low, high = (scores[0].low, scores[0].high) if len(scores) == 1 else (None, None)
        return ScoreCell(mean, low, high)
    # A rise over the base cannot be below the base's own.
    cell = ScoreCell(mean, interval.low, interval.high, beats_base=None if general else tested.beats_base.get(method))
    standing = tested.standings[method]
    if standing is None:
        return cell
    seeds, examples, times = standing.needed or (None, None, None)
    return cell._replace(
        word=standing.word, lacks=standing.lacks, lacks_low=standing.low, lacks_high=standing.high,
        better=standing.better, needed_seeds=seeds, needed_examples=examples, needed_times=times,
    )  # fmt: skip


def _of_seeds(name: str, done: Sequence[RunRecords]) -> dict[str, Any]:
    """`by_seed` and `sd` of a cell."""
    scores = {run.entry.seed: run.result.scores[name] for run in done if name in run.result.scores}
    by_seed = {
        seed: score.value if score.value is not None and math.isfinite(score.value) else None
        for seed, score in scores.items() if not score.missing
    }  # fmt: skip
    values = [value for value in by_seed.values() if value is not None]
    return {"by_seed": by_seed, "sd": statistics.stdev(values) if len(values) > 1 else None}


def _num_infinite(name: str, done: Sequence[RunRecords]) -> int:
    """Runs whose score is neither a number nor missing for a reason; JSON has no infinity: it is read as none."""
    scores = [run.result.scores[name] for run in done if name in run.result.scores]
    return sum(not score.missing and (score.value is None or not math.isfinite(score.value)) for score in scores)


def _infinite(name: str, done: Sequence[RunRecords]) -> list[str]:
    number = _num_infinite(name, done)
    return [f"{name} is not a finite number in {number} of {len(done)} runs: no mean is shown"] if number else []


def _missing(name: str, done: Sequence[RunRecords]) -> list[str]:
    """Why a metric has no value; once for all seeds that say the same."""
    seeds: dict[str, list[int]] = {}
    for run in done:
        if name in run.result.scores and (reason := run.result.scores[name].missing):
            seeds.setdefault(reason, []).append(run.entry.seed)
    return [f"{name} is missing{_for(found, done)}: {reason}" for reason, found in seeds.items()]


def _not_recorded(name: str, done: Sequence[RunRecords]) -> list[str]:
    """Runs that were never scored by it, beside others that were."""
    seeds = [run.entry.seed for run in done if name not in run.result.scores]
    return [f"{name} is missing{_for(seeds, done)}: it was not computed; `tunelab run` does"] if seeds else []


def _for(seeds: Sequence[int], done: Sequence[RunRecords]) -> str:
    """' for seed 1'; empty where it is so for all."""
    return "" if len(seeds) == len(done) else f" for seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def unread(name: str, done: Sequence[RunRecords]) -> list[str]:
    """What a metric does not read of the references; once for all runs that say the same."""
    said = [run.result.scores[name].note for run in done if name in run.result.scores]
    return [f"{name}: {note}" for note in dict.fromkeys(said) if note]


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
