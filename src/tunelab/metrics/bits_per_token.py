"""Loss of the reference text in bits per supervised token.

    bits_per_token = summed loss in nats / (ln 2 * supervised tokens)

The base-2 logarithm of perplexity. Tokens are the model's own: numbers of models with different tokenizers do not
compare.
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
class BitsPerToken(Metric):
    reads = "likelihood"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        return token_losses(predictions)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return totals[..., 0] / totals[..., 1] / math.log(2)

    def signature(self) -> str:
        return "unit:bits|per:supervised-token|label-smoothing:0"
