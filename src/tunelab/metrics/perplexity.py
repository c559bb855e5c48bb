"""Perplexity of the reference text: exp of the loss per supervised token (1 is certainty).

    perplexity = exp(summed loss in nats / supervised tokens)

Over the whole test set, not a mean of per-example perplexities. Tokens are the model's own: numbers of models with
different tokenizers do not compare.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np

from tunelab.evaluation.likelihood import Likelihood, num_tokens
from tunelab.metrics.loss import Loss
from tunelab.records import Prediction


@final
class Perplexity(Likelihood):
    bounds = (1.0, math.inf)

    def units(self, prediction: Prediction) -> float:
        return num_tokens(prediction)

    def logarithm(self) -> Loss:
        return Loss()

    def scaled(self, nats_per_unit: np.ndarray) -> np.ndarray:
        return np.exp(nats_per_unit)

    def signature(self) -> str:
        return "per:supervised-token|over:corpus|label-smoothing:0"
