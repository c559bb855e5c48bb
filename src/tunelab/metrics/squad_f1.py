"""F1 of SQuAD v1.1, in percent (0 to 100): words shared with the best reference after the official normalisation.

    m = words that prediction and reference share, each as often as in the one that has fewer
    F1 = 2 p r / (p + r) with p = m / words of the prediction and r = m / words of the reference; 0 where m = 0
    squad_f1 = 100 * mean over examples of the best F1 over the references

Normalisation: squad_em. Two empty texts share no word and score 0, as in the official evaluate-v1.1.py, `f1_score`.
"""
# N examples

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.unread import BETWEEN_SPACES, remark
from tunelab.metrics.squad_em import best_of_references
from tunelab.records import Prediction


@final
class SquadF1(Metric):
    bounds = (0.0, 100.0)

    def unread(self, references: Sequence[str]) -> str:
        return remark(references, str.split, words=BETWEEN_SPACES, instead=lambda script: "rouge_1:unicode")

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: best F1 over the references, 1."""
        return best_of_references("squad_f1", predictions, _f1)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return 100 * totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "measure:word-f1|nrefs:best|normalised:squad-v1.1|scale:100"


def _f1(answer: str, reference: str) -> float:
    predicted, expected = answer.split(), reference.split()
    shared = (Counter(predicted) & Counter(expected)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)
