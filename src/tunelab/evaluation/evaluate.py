"""Predictions to scores: per-example statistics of every metric, their totals, and intervals over examples.

The statistics stay with the predictions, so that any later score, interval or test needs neither model nor text.
"""
# S seeds, N examples, K statistics of the metric

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.errors import CannotScore, DataError, RunError
from tunelab.records import Prediction, Score
from tunelab.significance.intervals import interval


class Scored(NamedTuple):
    predictions: list[Prediction]
    """As given, with `statistics` filled in for every metric."""
    scores: dict[str, Score]


def score(
    predictions: Sequence[Prediction], metrics: Mapping[str, Metric], *, resamples: int = 1000, seed: int = 0
) -> Scored:
    """Score one run by every metric; the keys of `metrics` are the names as the task writes them ('bleu:e2e').

    A metric that cannot be computed here has a Score with `missing` instead of a value, and no statistics.

    Raises:
        RunError: a metric's statistics are not finite, as after a diverged training.
    """
    references = [text for prediction in predictions for text in prediction.references]
    statistics, scores = {}, {}
    for name, metric in metrics.items():
        try:
            statistics[name] = _finite_statistics(name, metric, predictions)
        except CannotScore as reason:
            scores[name] = _missing_score(metric, predictions, str(reason))
            continue
        found = score_from_statistics(statistics[name], metric, resamples=resamples, seed=seed)
        scores[name] = found.model_copy(update={"note": metric.unread(references)})
    rows = {name: values.tolist() for name, values in statistics.items()}
    filled = [
        prediction.model_copy(
            update={"statistics": {**prediction.statistics, **{name: tuple(rows[name][row]) for name in rows}}}
        )
        for row, prediction in enumerate(predictions)
    ]
    return Scored(filled, scores)


def score_from_statistics(
    statistics: np.ndarray, metric: Metric, *, signature: str | None = None, resamples: int = 1000, seed: int = 0
) -> Score:
    """Score and 95 % interval from statistics: N x K for one run, S x N x K for several seeds (mean over seeds).

    One run: percentile bootstrap over examples; several seeds: see significance/intervals.py. Value and interval are
    None where they cannot be computed (no example; an interval of one example).
    `signature`: the stored one, where the metric has not seen the references; default: the metric's.
    """
    found = interval(statistics, metric, resamples=resamples, seed=seed)
    return Score(
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.num_examples,
        signature=metric.signature() if signature is None else signature,
        higher_is_better=metric.higher_is_better,
    )


def _missing_score(metric: Metric, predictions: Sequence[Prediction], reason: str) -> Score:
    return Score(
        value=None,
        n=len(predictions),
        signature=metric.signature(),
        higher_is_better=metric.higher_is_better,
        missing=reason,
    )


def stored_statistics(runs: Sequence[Sequence[Prediction]], name: str) -> np.ndarray | None:
    """Statistics of one metric from the predictions of S runs on the same examples: S x N x K.

    None where any run was not scored by this metric.

    Raises:
        DataError: the runs were scored on different examples, or in a different order.
    """
    if not runs or any(name not in prediction.statistics for run in runs for prediction in run):
        return None
    examples = [prediction.id for prediction in runs[0]]
    for number, run in enumerate(runs[1:], start=2):
        if [prediction.id for prediction in run] != examples:
            raise DataError(
                f"run {number} of {len(runs)} was scored on other examples than the first: runs compare only on the "
                "same test rows in the same order; evaluate it again"
            )
    return np.array([[prediction.statistics[name] for prediction in run] for run in runs], dtype=np.float64)


def _finite_statistics(name: str, metric: Metric, predictions: Sequence[Prediction]) -> np.ndarray:
    statistics = metric.statistics(predictions)
    assert statistics.ndim == 2 and len(statistics) == len(predictions), f"{name}: one row an example"
    broken = np.flatnonzero(~np.isfinite(statistics).all(axis=1))
    if len(broken):
        raise RunError(
            f"{name} of example {predictions[broken[0]].id} is not a finite number (and of {len(broken) - 1} more): "
            "the model's output is broken; look at the training loss, lower the learning rate"
        )
    return statistics
