"""Corpus BLEU-4: sacrebleu's (0 to 100) by any of its tokenisers, the E2E challenge script's two (0 to 1).

    BLEU = min(1, exp(1 - reference length / output length)) * (p1 p2 p3 p4)^(1/4)
    pn = matched n-grams / n-grams of the output, summed over the whole corpus; the closest reference length

Papineni et al. 2002; Post 2018 (arXiv:1804.08771). What differs is the tokens and what a zero becomes:

- default: 13a tokens, case counts. An order without a match counts as 1/2, 1/4, ... matches (method 3 of Chen and
  Cherry 2014); no match at all, or no 4-gram in the whole output, is 0. The statistics are sacrebleu's own; the last
  formula follows sacrebleu 2.6 `BLEU.compute_bleu` (compared in tests/metrics/test_bleu.py).
- zh, ja-mecab, ko-mecab, char, intl, flores101, flores200: the same by other tokenisers of sacrebleu, for scripts of
  which 13a leaves a sentence one word. What needs a package or a model that is not here is missing with the reason.
- e2e: mteval-v13a in perl (tuetschek/e2e-metrics 1b9c4d8, mteval/mteval-v13a-sig.pl lines 891-919), which the script
  calls by default. The same smoothing, also where nothing matches; an order of which the outputs have no n-gram at all
  has p = 1; no output at all is 0.
- e2e-python: the port that the script calls with -p (pymteval.py lines 187-214). No smoothing: matches are at
  least 1e-15 and n-grams 1e-9. An empty output has one word, and -1, -2, -3 n-grams of order 2, 3, 4, as any output
  shorter than n - 1 words has: so it can exceed the perl score.

Tokens of both: evaluation/mteval.py. Compared with both programs in tests/metrics/test_mteval.py.
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.mteval import Dialect, closest_length, corpus, matches, num_ngrams
from tunelab.evaluation.sacre import TOKENIZERS, bleu, bleu_signature, lacking, sacre_statistics, unread_remark
from tunelab.records import Prediction

MAX_ORDER = 4
DIALECTS: dict[str, Dialect] = {"e2e": "perl", "e2e-python": "python"}
FEWEST_MATCHES, FEWEST_NGRAMS, FEWEST_WORDS = 1e-15, 1e-9, 1e-5
"""What the python port puts in the place of zeros."""


@final
class Bleu(Metric):
    variants: ClassVar[dict[str, str]] = {
        "": "sacrebleu, 0 to 100",
        **TOKENIZERS,
        "e2e": "the E2E script's mteval-v13a in perl, 0 to 1",
        "e2e-python": "the E2E script's python port, 0 to 1",
    }

    def __init__(self, variant: str = "") -> None:
        super().__init__(variant)
        self.bounds = (0.0, 1.0) if variant in DIALECTS else (0.0, 100.0)

    @cached_property
    def _bleu(self) -> Any:
        return bleu(self.variant)

    def missing(self) -> str:
        return lacking(self.variant)

    def unread(self, references: Sequence[str]) -> str:
        if self.variant in DIALECTS:
            return unread_remark("bleu", "", references, make=lambda: bleu(""))
        return unread_remark("bleu", self.variant, references, make=lambda: self._bleu)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 10: output length, closest reference length, matches of order 1 to 4, n-grams of order 1 to 4.

        Raises:
            CannotScore: what the tokeniser needs is not here.
        """
        if self.variant in DIALECTS:
            return _script_statistics(predictions, DIALECTS[self.variant])
        return sacre_statistics("bleu", self._bleu, predictions, num_statistics=2 + 2 * MAX_ORDER)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        length, reference_length = totals[..., 0], totals[..., 1]
        matched, counted = totals[..., 2 : 2 + MAX_ORDER], totals[..., 2 + MAX_ORDER :]
        if self.variant == "e2e-python":
            return _python_bleu(length, reference_length, matched, counted)
        with np.errstate(divide="ignore", invalid="ignore"):
            brevity = np.where(length < reference_length, np.exp(1 - reference_length / length), 1.0)
            halvings = np.cumsum((matched == 0) & (counted > 0), axis=-1)
            precision = np.where(matched == 0, 0.5**halvings, matched) / counted
            if self.variant == "e2e":
                score = brevity * np.exp(np.log(np.where(counted > 0, precision, 1.0)).sum(axis=-1) / MAX_ORDER)
                return np.where(length > 0, score, 0.0)
            score = brevity * np.exp(np.log(100 * precision).sum(axis=-1) / MAX_ORDER)
        defined = (matched > 0).any(axis=-1) & (counted > 0).all(axis=-1)
        return np.where(defined, score, 0.0)

    def signature(self) -> str:
        """sacrebleu's own, of the examples last given to `statistics`; before that without `nrefs`."""
        if self.variant in DIALECTS:
            smooth = "exp" if self.variant == "e2e" else "1e-15"
            tokens = f"mteval-v13a-{DIALECTS[self.variant]}"
            return f"nrefs:any|case:lc|eff:no|tok:{tokens}|smooth:{smooth}|scale:1|script:e2e-metrics"
        return bleu_signature(lambda: self._bleu, self.variant)


def _script_statistics(predictions: Sequence[Prediction], dialect: Dialect) -> np.ndarray:
    texts = corpus("bleu", predictions, dialect)
    examples = zip(texts.outputs, texts.references, strict=True)
    lengths = [(len(output), closest_length(output, references, dialect)) for output, references in examples]
    matched = [
        np.bincount(found.outputs.text, weights=found.hits, minlength=len(predictions))
        for found in matches(texts, MAX_ORDER).orders
    ]
    return np.column_stack([np.array(lengths, dtype=np.float64).reshape(-1, 2), *matched, num_ngrams(texts, MAX_ORDER)])


def _python_bleu(
    length: np.ndarray, reference_length: np.ndarray, matched: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    words = np.where(length == 0, FEWEST_WORDS, length)
    brevity = np.where(length <= reference_length, np.exp(1 - reference_length / words), 1.0)
    precision = np.maximum(matched, FEWEST_MATCHES) / np.maximum(counted, FEWEST_NGRAMS)
    return brevity * np.exp(np.log(precision).sum(axis=-1) / MAX_ORDER)
