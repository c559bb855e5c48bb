"""Corpus TER (percent, 0 upwards), as sacrebleu computes it: edits and shifts that turn a prediction into a reference.

    TER = 100 * edits to the reference that needs fewest / mean words of the references, summed over the whole corpus

Snover et al. 2006. Lower is better. Case does not count, punctuation stays at its word (tercom). Without any word in
the references it is 100 where something was written and 0 where nothing was. The statistics are sacrebleu's own, the
last formula follows sacrebleu 2.6 `TER._compute_score_from_stats` (tests/metrics/test_chrf_ter.py).
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.sacre import sacre_statistics, unseen
from tunelab.records import Prediction


@final
class Ter(Metric):
    higher_is_better = False
    bounds = (0.0, math.inf)

    def __init__(self, variant: str = "") -> None:
        super().__init__(variant)
        from sacrebleu.metrics.ter import TER

        self._ter = unseen(TER())

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: fewest edits, mean reference length."""
        return sacre_statistics("ter", self._ter, predictions, num_statistics=2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        edits, length = totals[..., 0], totals[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 100 * np.where(length > 0, edits / length, np.where(edits > 0, 1.0, 0.0))

    def signature(self) -> str:
        """sacrebleu's own, of the examples last given to `statistics`; before that without `nrefs`."""
        return str(self._ter.get_signature())
