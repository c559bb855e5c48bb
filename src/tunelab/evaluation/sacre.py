"""Predictions as sacrebleu takes them, and its per-example statistics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from tunelab.records import Prediction


def sacre_statistics(name: str, metric: Any, predictions: Sequence[Prediction], *, num_statistics: int) -> np.ndarray:
    """N x `num_statistics`, from a sacrebleu metric object; `name` is the metric's here."""
    for row in predictions:
        assert row.prediction is not None, f"example {row.id}: {name} needs generated text"
        assert row.references, f"example {row.id}: {name} needs a reference"
    if not predictions:
        return np.zeros((0, num_statistics))
    # sacrebleu wants one list per reference position; None stands where an example has fewer.
    streams = list(zip_longest(*(row.references for row in predictions)))
    texts = [row.prediction for row in predictions]
    return np.array(metric._extract_corpus_statistics(texts, streams), dtype=np.float64)


def unseen(metric: Any) -> Any:
    """The object with the number of references unknown: part of its signature, and sacrebleu leaves a None out."""
    metric.num_refs = None
    return metric
