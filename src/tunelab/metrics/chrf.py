"""Corpus chrF2 (0 to 100), as sacrebleu computes it: F2 of character n-grams of order 1 to 6.

    chrF = 100 (1 + 4) precision recall / (4 precision + recall)
    precision, recall: means over the orders of matched / n-grams of prediction, of reference, over the whole corpus

Popović 2015 and 2016. White space is left out, case counts, an example counts its best reference. The statistics are
sacrebleu's own; the last formula follows sacrebleu 2.6 `CHRF._compute_f_score` (tests/metrics/test_chrf_ter.py).
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.sacre import sacre_statistics, unseen
from tunelab.records import Prediction

MAX_ORDER = 6
BETA = 2


@final
class Chrf(Metric):
    bounds = (0.0, 100.0)

    def __init__(self, variant: str = "") -> None:
        super().__init__(variant)
        from sacrebleu.metrics.chrf import CHRF

        self._chrf = unseen(CHRF(char_order=MAX_ORDER, beta=BETA))

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 18: per order the n-grams of the prediction, of its best reference, and in both."""
        return sacre_statistics("chrf", self._chrf, predictions, num_statistics=3 * MAX_ORDER)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        predicted, expected, matched = np.moveaxis(totals.reshape(*totals.shape[:-1], MAX_ORDER, 3), -1, 0)
        present = (predicted > 0) & (expected > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            num_orders = present.sum(axis=-1)
            precision = np.where(present, matched / predicted, 0.0).sum(axis=-1) / num_orders
            recall = np.where(present, matched / expected, 0.0).sum(axis=-1) / num_orders
            score = 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
        return np.nan_to_num(score, nan=0.0)

    def signature(self) -> str:
        """sacrebleu's own, of the examples last given to `statistics`; before that without `nrefs`."""
        return str(self._chrf.get_signature())
