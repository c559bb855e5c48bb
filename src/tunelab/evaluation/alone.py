"""Each example scored alone, so that outputs can be ordered from worst to best, and by which metric that is."""
# N examples

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction

LOSS = "loss"


class Alone(NamedTuple):
    """Of several runs on the same examples."""

    metric: str
    runs: tuple[np.ndarray | None, ...]
    """Float64, shape N; None for a run without statistics of this metric; NaN where an example alone has no score."""
    higher_is_better: bool
    words: str
    """What a score is, for a reader: 'bleu of each example alone; ...'."""


def scored_alone(
    runs: Sequence[Sequence[Prediction]], names: Sequence[str], metrics: Mapping[str, Metric]
) -> Alone | None:
    """By the first of `names` of which any run has statistics and whose metric is in `metrics`; else by the loss, where
    token losses are there. None: there is nothing to order by.

    A metric's formula is applied to the statistics of one example. That is the example's part of a mean; of a score
    of all texts together (BLEU) it is another number, and the words say so.
    """
    asked = names[0] if names else ""
    for name in names:
        metric = metrics.get(name)
        if metric is None or metric.reads == "general":
            continue
        found = tuple(_statistics(run, name) for run in runs)
        if any(each is not None for each in found):
            return Alone(
                name,
                tuple(None if each is None else _scores(each, metric) for each in found),
                metric.higher_is_better,
                _words(name, asked, found, metric),
            )
    losses = tuple(_losses(run) for run in runs)
    if all(each is None for each in losses):
        return None
    return Alone(LOSS, losses, False, f"loss of each example in nats a token{_instead(LOSS, asked)}")


def _statistics(run: Sequence[Prediction], name: str) -> np.ndarray | None:
    """Shape N x K."""
    if not run or any(name not in prediction.statistics for prediction in run):
        return None
    return np.array([prediction.statistics[name] for prediction in run], dtype=np.float64)


def _scores(statistics: np.ndarray, metric: Metric) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(metric.aggregate(statistics), dtype=np.float64)


def _losses(run: Sequence[Prediction]) -> np.ndarray | None:
    if not run or any(prediction.loss_sum is None or not prediction.num_tokens for prediction in run):
        return None
    return np.array([(prediction.loss_sum or 0.0) / (prediction.num_tokens or 1) for prediction in run])


def _words(name: str, asked: str, found: Sequence[np.ndarray | None], metric: Metric) -> str:
    known = [each for each in found if each is not None]
    is_mean = all(np.isclose(_scores(each, metric).mean(), _scores(each.sum(axis=0), metric)) for each in known)
    whole = "" if is_mean else f"; the {name} of a run is of all examples together, and not the mean of these"
    return f"{name} of each example alone{whole}{_instead(name, asked)}"


def _instead(name: str, asked: str) -> str:
    return f"; {asked} has no score of single examples here" if asked and asked != name else ""
