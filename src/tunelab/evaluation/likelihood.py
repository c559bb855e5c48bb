"""What the metrics of token losses share: summed loss in nats over a sum of units, which each metric says.

Tokens are the model's own, so that numbers per token of models with different tokenizers do not compare; those per
byte and per example do. Always without label smoothing.
"""
# N examples

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction


class Likelihood(Metric):
    reads = "likelihood"
    higher_is_better = False
    bounds = (0.0, math.inf)

    @abstractmethod
    def units(self, prediction: Prediction) -> float:
        """What one example adds to the denominator."""

    def loss(self, prediction: Prediction) -> float:
        """What one example adds to the numerator, in nats."""
        assert prediction.loss_sum is not None, f"example {prediction.id}: no token losses"
        return prediction.loss_sum

    def scaled(self, nats_per_unit: np.ndarray) -> np.ndarray:
        return nats_per_unit

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: summed loss in nats, units."""
        rows = [(self.loss(prediction), self.units(prediction)) for prediction in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return self.scaled(totals[..., 0] / totals[..., 1])


def num_tokens(prediction: Prediction) -> int:
    """Supervised ones."""
    assert prediction.num_tokens is not None, f"example {prediction.id}: no token losses"
    return prediction.num_tokens


def num_bytes(prediction: Prediction) -> int:
    """Of the supervised text in UTF-8."""
    assert prediction.num_bytes is not None, f"example {prediction.id}: no bytes were counted"
    return prediction.num_bytes


def bits(nats: np.ndarray) -> np.ndarray:
    return nats / math.log(2)
