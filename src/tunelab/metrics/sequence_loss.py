"""Mean over examples of the summed negative log-likelihood of the reference text, in nats per example.

    sequence_loss = sum over examples and their supervised tokens of -ln p(token | what precedes it) / examples

Long examples weigh more. Without label smoothing. No tokens are counted, so models with different tokenizers compare
on equal texts.
"""

from __future__ import annotations

from typing import final

from tunelab.evaluation.likelihood import Likelihood
from tunelab.records import Prediction


@final
class SequenceLoss(Likelihood):
    def units(self, prediction: Prediction) -> float:
        return 1

    def signature(self) -> str:
        return "unit:nats|per:example|label-smoothing:0"
