"""Loss of the reference text in bits per supervised token.

    bits_per_token = summed loss in nats / (ln 2 * supervised tokens)

The base-2 logarithm of perplexity. Tokens are the model's own: numbers of models with different tokenizers do not
compare.
"""

from __future__ import annotations

from typing import final

import numpy as np

from tunelab.evaluation.likelihood import Likelihood, bits, num_tokens
from tunelab.records import Prediction


@final
class BitsPerToken(Likelihood):
    def units(self, prediction: Prediction) -> float:
        return num_tokens(prediction)

    def scaled(self, nats_per_unit: np.ndarray) -> np.ndarray:
        return bits(nats_per_unit)

    def signature(self) -> str:
        return "unit:bits|per:supervised-token|label-smoothing:0"
