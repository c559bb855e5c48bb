"""Exact match of SQuAD v1.1, in percent (0 to 100): answers equal to any reference after the official normalisation.

    squad_em = 100 * examples whose normalised prediction is a normalised reference / examples

Normalised, in this order: lower case, ASCII punctuation removed, the words a, an, the replaced by a blank, white space
collapsed. Rajpurkar et al. 2016; the official evaluate-v1.1.py, `normalize_answer` and `exact_match_score`.
"""
# N examples

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


@final
class SquadEm(Metric):
    bounds = (0.0, 100.0)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: 1 where the prediction is a reference, 1."""
        return best_of_references("squad_em", predictions, lambda answer, reference: float(answer == reference))

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return 100 * totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "measure:exact-match|nrefs:best|normalised:squad-v1.1|scale:100"


def best_of_references(
    name: str, predictions: Sequence[Prediction], compare: Callable[[str, str], float]
) -> np.ndarray:
    """N x 2: the best comparison of normalised texts over the references, 1. squad_f1 rests on it too."""
    rows = []
    for row in predictions:
        assert row.prediction is not None, f"example {row.id}: {name} needs generated text"
        assert row.references, f"example {row.id}: {name} needs a reference"
        answer = _normalised(row.prediction)
        rows.append((max(compare(answer, _normalised(reference)) for reference in row.references), 1.0))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _normalised(text: str) -> str:
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())
