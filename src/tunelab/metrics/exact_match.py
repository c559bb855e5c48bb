"""Share of predictions equal to any reference (0 to 1), outer and repeated whitespace aside.

    exact_match = examples whose prediction is a reference / examples

Case and punctuation count.
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction


@final
class ExactMatch(Metric):
    bounds = (0.0, 1.0)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: 1 where the prediction is a reference, 1."""
        return np.array([(_is_match(prediction), 1.0) for prediction in predictions], dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "nrefs:any|case:mixed|whitespace:collapsed"


def _is_match(prediction: Prediction) -> bool:
    assert prediction.prediction is not None, f"example {prediction.id}: exact_match needs generated text"
    assert prediction.references, f"example {prediction.id}: exact_match needs a reference"
    return _collapsed(prediction.prediction) in map(_collapsed, prediction.references)


def _collapsed(text: str) -> str:
    return " ".join(text.split())
