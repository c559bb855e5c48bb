"""ROUGE-1 F1 against the best reference, mean over examples (0 to 1), as Google's rouge-score computes it.

    m = words that prediction and reference share, each as often as in the one that has fewer
    precision = m / words of the prediction, recall = m / words of the reference
    F1 = 2 precision recall / (precision + recall); an example counts its best reference

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries". Tokens (lower case, runs of a-z and 0-9) and F1 are
the package's own functions; equal to `RougeScorer` to the last bit (tests/metrics/test_rouge_n.py). unicode: words of
any script, as in rouge_l.
"""
# N examples

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
from rouge_score.scoring import fmeasure

from tunelab.contracts import Metric
from tunelab.metrics.rouge_l import RougeL, rouge_remark, rouge_signature, rouge_tokens
from tunelab.records import Prediction

TOKENS = {variant: said for variant, said in RougeL.variants.items() if variant != "coco"}


@final
class Rouge1(Metric):
    bounds = (0.0, 1.0)
    variants: ClassVar[dict[str, str]] = TOKENS

    def unread(self, references: Sequence[str]) -> str:
        return rouge_remark("rouge_1", self.variant, references)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: best F1 over the references, 1."""
        return ngram_statistics("rouge_1", predictions, order=1, variant=self.variant)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return rouge_signature("rouge1", self.variant)


def ngram_statistics(name: str, predictions: Sequence[Prediction], *, order: int, variant: str) -> np.ndarray:
    """N x 2: best F1 over the references, 1. rouge_2 counts the same with pairs of words."""
    to_tokens = rouge_tokens(variant)
    rows = []
    for row in predictions:
        assert row.prediction is not None, f"example {row.id}: {name} needs generated text"
        assert row.references, f"example {row.id}: {name} needs a reference"
        predicted = _ngrams(to_tokens(row.prediction), order)
        best = 0.0
        for reference in (_ngrams(to_tokens(text), order) for text in row.references):
            shared = sum(min(count, reference[ngram]) for ngram, count in predicted.items())
            precision, recall = shared / max(predicted.total(), 1), shared / max(reference.total(), 1)
            best = max(best, fmeasure(precision, recall))
        rows.append((best, 1.0))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[first:] for first in range(order)), strict=False))
