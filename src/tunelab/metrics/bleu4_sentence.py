"""Mean over examples of sentence BLEU-4 (0 to 100), each smoothed: what small studies report beside corpus BLEU.

    bleu4_sentence = mean of sacrebleu's sentence_bleu(prediction, references)

13a tokens, case counts. Smoothing is exponential (method 3 of Chen and Cherry 2014): an order without a match counts as
1/2, 1/4, ... matches; orders that the prediction is too short for are left out (effective order). No match at all is 0.
Other tokenisers of sacrebleu are variants, as of bleu.
Other smoothings give other numbers, and a mean of sentences is not a corpus BLEU: name it when you compare.
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.sacre import TOKENIZERS, bleu, bleu_signature, lacking, unread_remark
from tunelab.records import Prediction


@final
class Bleu4Sentence(Metric):
    bounds = (0.0, 100.0)

    variants: ClassVar[dict[str, str]] = {"": "13a", **TOKENIZERS}

    @cached_property
    def _bleu(self) -> Any:
        return bleu(self.variant, effective_order=True)

    def missing(self) -> str:
        return lacking(self.variant)

    def unread(self, references: Sequence[str]) -> str:
        return unread_remark("bleu4_sentence", self.variant, references, make=lambda: self._bleu)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: the example's BLEU, 1.

        Raises:
            CannotScore: what the tokeniser needs is not here.
        """
        rows = []
        for row in predictions:
            assert row.prediction is not None, f"example {row.id}: bleu4_sentence needs generated text"
            assert row.references, f"example {row.id}: bleu4_sentence needs a reference"
            rows.append((self._bleu.sentence_score(row.prediction, list(row.references)).score, 1.0))
        numbers = {len(row.references) for row in predictions}
        self._bleu.num_refs = numbers.pop() if len(numbers) == 1 else -1  # -1 is sacrebleu's "var"
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return f"mean:sentence|{bleu_signature(lambda: self._bleu, self.variant, effective_order=True)}"
