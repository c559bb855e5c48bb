"""Corpus TER (percent, 0 upwards), as sacrebleu computes it: edits and shifts that turn a prediction into a reference.

    TER = 100 * edits to the reference that needs fewest / mean words of the references, summed over the whole corpus

Snover et al. 2006. Lower is better. Case does not count, punctuation stays at its word (tercom). Without any word in
the references it is 100 where something was written and 0 where nothing was. The statistics are sacrebleu's own, the
last formula follows sacrebleu 2.6 `TER._compute_score_from_stats` (tests/metrics/test_chrf_ter.py). asian: sacrebleu's
--ter-normalized --ter-asian-support, which splits punctuation and Han, but leaves runs of kana as they are.
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.sacre import sacre_statistics, unseen
from tunelab.evaluation.unread import BETWEEN_SPACES, remark
from tunelab.records import Prediction


@final
class Ter(Metric):
    higher_is_better = False
    bounds = (0.0, math.inf)

    variants: ClassVar[dict[str, str]] = {"": "tercom's words", "asian": "normalised, and a Chinese character a word"}

    def __init__(self, variant: str = "") -> None:
        super().__init__(variant)
        from sacrebleu.metrics.ter import TER

        self._ter = unseen(TER(normalized=True, asian_support=True) if variant == "asian" else TER())

    def unread(self, references: Sequence[str]) -> str:
        words = f"a Chinese character, or {BETWEEN_SPACES}" if self.variant == "asian" else BETWEEN_SPACES
        return remark(references, self._words, words=words, instead=self._instead)

    def _words(self, text: str) -> list[str]:
        return self._ter.tokenizer(text.rstrip()).split()

    def _instead(self, script: str) -> str:
        return "ter:asian" if script == "Han" and self.variant != "asian" else "chrf"

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
