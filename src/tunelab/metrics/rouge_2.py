"""ROUGE-2 F1 against the best reference, mean over examples (0 to 1), as Google's rouge-score computes it.

    m = pairs of neighbouring words that prediction and reference share, each as often as in the one that has fewer
    precision = m / pairs of the prediction, recall = m / pairs of the reference
    F1 = 2 precision recall / (precision + recall); an example counts its best reference

As rouge_1, with pairs; compared in tests/metrics/test_rouge_n.py. A text of one word has no pair and scores 0.
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from tunelab.contracts import Metric
from tunelab.metrics.rouge_1 import TOKENS, ngram_statistics
from tunelab.metrics.rouge_l import rouge_remark, rouge_signature
from tunelab.records import Prediction


@final
class Rouge2(Metric):
    bounds = (0.0, 1.0)
    variants: ClassVar[dict[str, str]] = TOKENS

    def unread(self, references: Sequence[str]) -> str:
        return rouge_remark("rouge_2", self.variant, references)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: best F1 over the references, 1."""
        return ngram_statistics("rouge_2", predictions, order=2, variant=self.variant)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return rouge_signature("rouge2", self.variant)
