"""Bootstrap over examples: scores of many runs on the same draws, as one matrix product.

A draw is how often each example is in it, so a resampled score is the metric's aggregate of re-weighted statistics
(Efron and Tibshirani 1993; for BLEU Koehn 2004).
"""
# N examples, K statistics, R resamples, J runs

from __future__ import annotations

import numpy as np

from tunelab.contracts import Metric

ROWS_PER_CHUNK = 512
"""Resamples per matrix product: few enough that BLAS keeps a small product on one thread (3 times faster there)."""
CELLS_PER_CHUNK = 2**22
"""Bounds the memory of a chunk (64 MiB) where examples are many."""


def resampled_scores(statistics: np.ndarray, metric: Metric, *, resamples: int, seed: int) -> np.ndarray:
    """Scores of J runs on the same bootstrap draws of N examples: J x N x K -> R x J.

    The draws depend on (seed, N, R) alone: metrics and methods resampled apart share them.
    """
    num_runs, num_examples, num_statistics = statistics.shape
    side_by_side = statistics.transpose(1, 0, 2).reshape(num_examples, num_runs * num_statistics)
    generator = np.random.default_rng(seed)
    rows_per_chunk = max(1, min(ROWS_PER_CHUNK, CELLS_PER_CHUNK // num_examples))
    scores = []
    for start in range(0, resamples, rows_per_chunk):
        rows = min(rows_per_chunk, resamples - start)
        drawn = generator.integers(0, num_examples, size=(rows, num_examples))
        drawn += np.arange(rows)[:, None] * num_examples
        multiplicity = np.bincount(drawn.ravel(), minlength=rows * num_examples).reshape(rows, num_examples)
        totals = multiplicity.astype(np.float64) @ side_by_side
        scores.append(metric.aggregate(totals.reshape(rows, num_runs, num_statistics)))
    return np.concatenate(scores)
