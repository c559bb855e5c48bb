"""Corpus BLEU-4 (0 to 100), as sacrebleu computes it: 13a tokens, exponential smoothing, closest reference length.

    BLEU = min(1, exp(1 - reference length / output length)) * (p1 p2 p3 p4)^(1/4)
    pn = 100 * matched n-grams / n-grams of the output, summed over the whole corpus

Papineni et al. 2002; Post 2018 (arXiv:1804.08771). An order without a match counts as 1/2, 1/4, ... matches
(method 3 of Chen and Cherry 2014); no match at all, or no 4-gram in the whole output, is 0. The statistics are
sacrebleu's own; the last formula is vectorised here over resamples and follows sacrebleu 2.6 `BLEU.compute_bleu`
(compared in tests/metrics/test_bleu.py).
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction

MAX_ORDER = 4


@final
class Bleu(Metric):
    bounds = (0.0, 100.0)

    def __init__(self, variant: str = "") -> None:
        super().__init__(variant)
        from sacrebleu.metrics import BLEU

        self._bleu = BLEU()
        # Part of the signature. Known once references were seen; sacrebleu leaves a None out.
        self._bleu.num_refs = None

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 10: output length, closest reference length, matches of order 1 to 4, n-grams of order 1 to 4."""
        for prediction in predictions:
            assert prediction.prediction is not None, f"example {prediction.id}: bleu needs generated text"
            assert prediction.references, f"example {prediction.id}: bleu needs a reference"
        if not predictions:
            return np.zeros((0, 2 + 2 * MAX_ORDER))
        # sacrebleu wants one list per reference position; None stands where an example has fewer.
        streams = list(zip_longest(*(prediction.references for prediction in predictions)))
        texts = [prediction.prediction for prediction in predictions]
        return np.array(self._bleu._extract_corpus_statistics(texts, streams), dtype=np.float64)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        length, reference_length = totals[..., 0], totals[..., 1]
        matched, counted = totals[..., 2 : 2 + MAX_ORDER], totals[..., 2 + MAX_ORDER :]
        with np.errstate(divide="ignore", invalid="ignore"):
            brevity = np.where(length < reference_length, np.exp(1 - reference_length / length), 1.0)
            halvings = np.cumsum(matched == 0, axis=-1)
            precision = 100 * np.where(matched == 0, 0.5**halvings, matched) / counted
            score = brevity * np.exp(np.log(precision).sum(axis=-1) / MAX_ORDER)
        defined = (matched > 0).any(axis=-1) & (counted > 0).all(axis=-1)
        return np.where(defined, score, 0.0)

    def signature(self) -> str:
        """sacrebleu's own, of the examples last given to `statistics`; before that without `nrefs`."""
        return str(self._bleu.get_signature())
