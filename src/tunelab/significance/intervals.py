"""Intervals of scores, and the draws that comparisons are made of: over examples and over seeds.

Everything is a re-weighting of stored per-example statistics (see contracts.Metric); no model and no text is needed.

A method's score is the mean over its seeds of the score on all examples. With a_s the effect of a seed, b_i of an
example and e_si of both together, its variance is var(a)/S + var(b)/N + var(e)/(S N):

- Examples: N of N are drawn with replacement, the same draw for every seed and every method. The replicates carry
  var(b)/N + var(e)/(S N), and what two methods share on an example cancels from their difference.
- Seeds: drawing S of S seeds shows only (S - 1)/S of var(a), and with two or three seeds far too few different means.
  So each replicate gets instead Student's t times sqrt(var(a)/S), its variance and degrees of freedom from seeds.py.
  Seeds are independent draws of each method, also where the lists agree: base has one seed, and a positive
  correlation, as from an equal data order, only makes the comparison stricter.
- One seed: examples only. The base is deterministic, so nothing is missing there; for a trained method the interval
  says nothing about other seeds, and it is compared with no other method.

Levels, by simulation: benchmarks/decisions.py and docs/decisions.md.
"""
# S seeds, N examples, K statistics, R resamples, J runs = seeds of all methods

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.significance.resampling import resampled_scores
from tunelab.significance.seeds import Noise, Scatter, seed_noise, set_apart, unsteady

LEVEL = 0.05
"""Of an interval (1 - LEVEL), and of all claims of one kind about one metric together."""


class Interval(NamedTuple):
    """A score with its 95 % interval, in the metric's unit. None: it cannot be computed from these examples."""

    value: float | None
    low: float | None
    high: float | None
    num_seeds: int
    num_examples: int


class Evidence(NamedTuple):
    """What is known of one method's score."""

    interval: Interval
    draws: np.ndarray
    """R draws of the score; empty where it cannot be resampled."""
    over_examples: np.ndarray
    """What the choice of examples alone does: the same draws without the seeds' part."""
    scores: tuple[float, ...]
    """A seed each."""
    noise: Noise | None
    """None for one seed."""
    unsteady: bool
    apart: bool
    """Unsteady, and the exception: see seeds.py."""

    @property
    def is_testable(self) -> bool:
        return len(self.draws) > 0

    @property
    def seeds_variance(self) -> float:
        """Of the mean over the seeds."""
        return self.noise.variance / len(self.scores) if self.noise is not None else 0.0


def interval(statistics: np.ndarray, metric: Metric, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Score and interval of one method. `statistics`: S x N x K, or N x K for one run."""
    return intervals({"": statistics}, metric, resamples=resamples, seed=seed)[""]


def intervals(
    statistics: Mapping[str, np.ndarray], metric: Metric, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """The same for several methods, from one set of draws."""
    found = evidence(statistics, metric, resamples=resamples, seed=seed)
    return {label: one.interval for label, one in found.items()}


def evidence(
    statistics: Mapping[str, np.ndarray], metric: Metric, *, resamples: int, seed: int = 0, base: str | None = None
) -> dict[str, Evidence]:
    """Of every method, from one set of draws over the same N examples. `base`: the label of the untouched model."""
    runs = {label: values if values.ndim == 3 else values[None] for label, values in statistics.items()}
    if not runs:
        return {}
    num_examples = {values.shape[1] for values in runs.values()}
    assert len(num_examples) == 1, f"methods were scored on different numbers of examples: {sorted(num_examples)}"
    if num_examples == {0}:
        return {label: _unknown(values, value=None) for label, values in runs.items()}
    stacked = np.concatenate(list(runs.values()))
    replicates = resampled_scores(stacked, metric, resamples=resamples, seed=seed)
    scores = metric.aggregate(stacked.sum(axis=1))
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    first = 0
    for label, values in runs.items():
        cut = slice(first, first := first + len(values))
        parts[label] = scores[cut], replicates[:, cut]
    known = {label: Scatter.of(*part) for label, part in parts.items() if len(part[0]) > 1 and _finite(*part)}
    reference = float(parts[base][0].mean()) if base in parts else None
    sign = 1 if metric.higher_is_better else -1
    failing = unsteady(known, base=reference, sign=sign)
    apart = set_apart(known, failing, sign=sign)
    noises = seed_noise(known, failing, apart)
    found = {}
    for label, values in runs.items():
        found[label] = _of_method(values, *parts[label], noises.get(label), label=label, seed=seed)
        cut_off = _cut(found[label].interval, metric.bounds)
        found[label] = found[label]._replace(interval=cut_off, unsteady=label in failing, apart=label in apart)
    return found


def _finite(scores: np.ndarray, replicates: np.ndarray) -> bool:
    return bool(np.isfinite(scores).all() and np.isfinite(replicates).all())


def _of_method(
    values: np.ndarray, scores: np.ndarray, replicates: np.ndarray, noise: Noise | None, *, label: str, seed: int
) -> Evidence:
    """From the statistics S x N x K, the scores S and their replicates R x S of one method."""
    num_seeds, num_examples = values.shape[:2]
    if num_examples < 2 or not _finite(scores, replicates):
        mean = float(scores.mean())
        return _unknown(values, value=mean if math.isfinite(mean) else None)
    draws = over_examples = replicates.mean(axis=1)
    if noise is not None:
        draws = draws + _student(noise, len(draws), label=label, seed=seed) * math.sqrt(noise.variance / num_seeds)
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
    found = Interval(float(scores.mean()), float(low), float(high), num_seeds, num_examples)
    return Evidence(found, draws, over_examples, tuple(map(float, scores)), noise, False, False)


def _student(noise: Noise, size: int, *, label: str, seed: int) -> np.ndarray:
    """Student's t; methods with a shared estimate of the variance share its error. Keyed by the label, so that the
    order of the methods changes nothing."""
    own = np.random.default_rng([seed, zlib.crc32(label.encode())])
    normal = own.normal(size=size)
    common = np.random.default_rng([seed, size]) if noise.borrowed else own
    return normal / np.sqrt(common.chisquare(noise.freedom, size=size) / noise.freedom)


def _cut(interval: Interval, bounds: tuple[float, float]) -> Interval:
    """The t distribution knows no smallest or largest score."""
    if interval.low is None or interval.high is None:
        return interval
    return interval._replace(low=max(interval.low, bounds[0]), high=min(interval.high, bounds[1]))


def _unknown(values: np.ndarray, *, value: float | None) -> Evidence:
    nothing = np.empty(0)
    num_seeds, num_examples = values.shape[:2]
    return Evidence(Interval(value, None, None, num_seeds, num_examples), nothing, nothing, (), None, False, False)
