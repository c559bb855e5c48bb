"""Mean negative log-likelihood of the reference text, in nats per supervised token.

    loss = sum over supervised tokens of -ln p(token | what precedes it) / supervised tokens

Without label smoothing. Tokens are the model's own: numbers of models with different tokenizers do not compare.
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction


@final
class Loss(Metric):
    reads = "likelihood"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: summed loss in nats, supervised tokens."""
        return token_losses(predictions)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "unit:nats|per:supervised-token|label-smoothing:0"


def token_losses(predictions: Sequence[Prediction]) -> np.ndarray:
    """N x 2: summed loss in nats, supervised tokens. perplexity and bits_per_token rest on the same two numbers."""
    for prediction in predictions:
        measured = prediction.loss_sum is not None and prediction.num_tokens is not None
        assert measured, f"example {prediction.id}: no token losses"
    rows = [(prediction.loss_sum, prediction.num_tokens) for prediction in predictions]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
