"""Test examples on which the methods differ most, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.entries import BASE
from tunelab.records import Prediction
from tunelab.report.frame import Group
from tunelab.report.numbers import number, score_decimals

LONGEST_TEXT = 700
"""Letters shown of one text."""


class Answer(NamedTuple):
    method: str
    text: str | None
    score: str
    """This example alone, on the task's first metric; empty where it cannot be computed."""


class SideBySide(NamedTuple):
    id: str
    seed: int
    prompt: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]


def most_different(group: Group, *, metrics: Mapping[str, Metric], num_examples: int = 8) -> tuple[SideBySide, ...]:
    """The examples with the largest variance of the first metric over the trained methods, all of one seed."""
    seed, of_method = _one_seed(group)
    if not of_method or not group.metrics:
        return ()
    shared = set.intersection(*(set(predictions) for predictions in of_method.values()))
    ids = [id for id in next(iter(of_method.values())) if id in shared]
    if not ids or all(of_method[method][id].prediction is None for method in of_method for id in ids):
        return ()
    name = group.metrics[0]
    scores = {method: _alone([found[id] for id in ids], name, metrics.get(name)) for method, found in of_method.items()}
    order = _order(scores)[:num_examples]
    decimals = score_decimals(
        [float(values[place]) for values in scores.values() if values is not None for place in order]
    )
    return tuple(_side_by_side(ids[place], place, seed, of_method, scores, decimals) for place in order)


def _one_seed(group: Group) -> tuple[int, dict[str, dict[str, Prediction]]]:
    """The first seed that the most methods finished. The base stands beside it whatever its own seed is."""
    seeds = [run.entry.seed for row in group.rows if row.method != BASE for run in group.runs_of(row.method)]
    seed = max(dict.fromkeys(seeds), key=seeds.count, default=0)
    found = {}
    for row in group.rows:
        runs = group.runs_of(row.method)
        chosen = [run for run in runs if run.entry.seed == seed] or (runs[:1] if row.method == BASE else [])
        if chosen and chosen[0].predictions:
            found[row.method] = {prediction.id: prediction for prediction in chosen[0].predictions}
    return seed, found


def _alone(predictions: list[Prediction], name: str, metric: Metric | None) -> np.ndarray | None:
    """Each example's own score, shape N; NaN where it has no statistics."""
    if metric is None or any(name not in prediction.statistics for prediction in predictions):
        return None
    statistics = np.array([prediction.statistics[name] for prediction in predictions], dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(metric.aggregate(statistics), dtype=np.float64)


def _order(scores: Mapping[str, np.ndarray | None]) -> list[int]:
    """Positions of the examples, the most different first; equal ones in the order of the test set."""
    known = {method: values for method, values in scores.items() if values is not None}
    trained = [values for method, values in known.items() if method != BASE]
    rows = trained if len(trained) > 1 else list(known.values())
    if not rows:
        return []
    spread = np.nan_to_num(np.var(np.stack(rows), axis=0), nan=-1.0)
    return [int(place) for place in np.argsort(-spread, kind="stable")]


def _side_by_side(
    id: str, place: int, seed: int, of_method: dict[str, dict[str, Prediction]],
    scores: Mapping[str, np.ndarray | None], decimals: int,
) -> SideBySide:  # fmt: skip
    shown = next(iter(of_method.values()))[id]
    answers = tuple(
        Answer(
            method,
            None if (text := found[id].prediction) is None else _cut(text),
            "" if (alone := scores[method]) is None else number(float(alone[place]), decimals),
        )
        for method, found in of_method.items()
    )
    return SideBySide(id, seed, _cut(shown.prompt), tuple(_cut(text) for text in shown.references[:4]), answers)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text) - LONGEST_TEXT:,} letters more)"
