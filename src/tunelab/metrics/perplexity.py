"""Perplexity of the reference text: exp of the loss per supervised token (1 is certainty).

    perplexity = exp(summed loss in nats / supervised tokens)

Over the whole test set, not a mean of per-example perplexities. Tokens are the model's own: numbers of models with
different tokenizers do not compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.metrics.loss import token_losses
from tunelab.records import Prediction


@final
class Perplexity(Metric):
    reads = "likelihood"
    higher_is_better = False
    bounds = (1.0, math.inf)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        return token_losses(predictions)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.exp(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        return "per:supervised-token|over:corpus|label-smoothing:0"
