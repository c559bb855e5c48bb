"""Mean over examples of the summed negative log-likelihood of the reference text, in nats per example.

    sequence_loss = sum over examples and their supervised tokens of -ln p(token | what precedes it) / examples

Long examples weigh more. Without label smoothing. No tokens are counted, so models with different tokenizers compare
on equal texts.
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.metrics.loss import token_losses
from tunelab.records import Prediction


@final
class SequenceLoss(Metric):
    reads = "likelihood"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: summed loss in nats, 1."""
        statistics = token_losses(predictions)
        statistics[:, 1] = 1
        return statistics

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "unit:nats|per:example|label-smoothing:0"
