"""What is done with scores that are numpy arrays; torch_scores.py does the same with tensors.

The order of transformers' warpers: temperature, top_k, top_p. Sums are in double precision.
"""
# B texts, V vocabulary

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunelab.config.schema import Generation


def narrow(scores_BV: np.ndarray, settings: Generation) -> np.ndarray:
    """Scores to draw from: what top_k and top_p leave out is -inf."""
    scores_BV = scores_BV / settings.temperature
    if settings.top_k:
        place = scores_BV.shape[-1] - min(settings.top_k, scores_BV.shape[-1])
        scores_BV[scores_BV < np.partition(scores_BV, place, axis=-1)[:, place, None]] = -np.inf
    if settings.top_p < 1:
        order_BV = np.argsort(scores_BV, axis=-1, kind="stable")
        below_BV = _probabilities(np.take_along_axis(scores_BV, order_BV, axis=-1)).cumsum(axis=-1)
        gone_BV = below_BV <= 1 - settings.top_p
        gone_BV[:, -1] = False
        scores_BV[np.nonzero(gone_BV)[0], order_BV[gone_BV]] = -np.inf
    return scores_BV


def draw(scores_BV: np.ndarray, uniforms: Sequence[float]) -> list[int]:
    """The token at which the cumulated probability passes the row's number of [0, 1)."""
    passed_BV = _probabilities(scores_BV).cumsum(axis=-1)
    last = scores_BV.shape[-1] - 1
    return [
        min(int(np.searchsorted(passed_V, uniform * passed_V[-1], side="right")), last)
        for passed_V, uniform in zip(passed_BV, uniforms, strict=True)
    ]


def _probabilities(scores_BV: np.ndarray) -> np.ndarray:
    scores_BV = scores_BV.astype(np.float64)
    parts_BV = np.exp(scores_BV - scores_BV.max(axis=-1, keepdims=True))
    return parts_BV / parts_BV.sum(axis=-1, keepdims=True)


def normalisers(scores_BV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    highest_B = scores_BV.max(axis=-1)
    sums_B = np.exp(scores_BV - highest_B[:, None]).sum(axis=-1, dtype=np.float64)
    return highest_B, np.log(sums_B).astype(scores_BV.dtype)


def best(
    scores_BV: np.ndarray, less: tuple[np.ndarray, np.ndarray], running: np.ndarray, *, beams: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The highest sums of a beam's score and a token's log-probability, best first, and their places in the prompt's
    (beam, token)."""
    for part_B in less:
        scores_BV -= part_B[:, None]
    logs_BV = np.repeat(scores_BV, len(running) // len(scores_BV), axis=0)
    logs_BV += running[:, None]
    scores, places = [], []
    for summed_N in logs_BV.reshape(len(running) // beams, -1):
        reached = np.flatnonzero(~(summed_N < _reached_by(summed_N, count)))  # a NaN is not below
        chosen = reached[np.argsort(-summed_N[reached], kind="stable")[:count]]
        scores.append(summed_N[chosen])
        places.append(chosen)
    return np.stack(scores), np.stack(places)


def _reached_by(values_N: np.ndarray, count: int) -> np.floating:
    """What at least `count` values reach and few others: the largest of each stretch tell, faster than a partition."""
    stretch = max(1, len(values_N) // (16 * count))
    largest = values_N[: len(values_N) // stretch * stretch].reshape(-1, stretch).max(axis=1)
    return np.partition(largest, -count)[-count]
