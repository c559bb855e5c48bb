"""Mean negative log-likelihood of the reference text, in nats per supervised token.

    loss = sum over supervised tokens of -ln p(token | what precedes it) / supervised tokens

Without label smoothing. Tokens are the model's own: numbers of models with different tokenizers do not compare.
"""

from __future__ import annotations

from typing import final

from tunelab.evaluation.likelihood import Likelihood, num_tokens
from tunelab.records import Prediction


@final
class Loss(Likelihood):
    def units(self, prediction: Prediction) -> float:
        return num_tokens(prediction)

    def signature(self) -> str:
        return "unit:nats|per:supervised-token|label-smoothing:0"
