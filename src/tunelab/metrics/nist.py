"""Corpus NIST-5 (0 upwards), as mteval-v13a computes it for the E2E challenge: matched n-grams weigh what they tell.

    NIST = penalty * sum over n = 1..5 of (sum over matched n-grams of info) / n-grams of the outputs
    info(w1..wn) = log2(count(w1..wn-1) / count(w1..wn)), counted over all references; the words' number for n = 1
    penalty = exp(-b ln(ratio)^2) for ratio < 1, else 1; b such that it is 1/2 at ratio 2/3
    ratio = words of the outputs / mean words of a reference

Doddington 2002. The mean of the last line where examples have different numbers of references: perl takes all
references' words over their mean number; the python port sums each example's mean. In perl the word 0 counts as no
word before another (the string is false there): it weighs count("0 x") by all words. The python port has no score
where the outputs hold no n-gram of some order; it is missing here too.

`info` comes from the references of all examples: intervals and tests hold these weights fixed.

Sources: tuetschek/e2e-metrics 1b9c4d8, mteval/mteval-v13a-sig.pl lines 521-556, 923-937 and 1021-1030 (default);
pymteval.py lines 217-312 (`e2e-python`). Compared with both in tests/metrics/test_mteval.py.
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.mteval import Corpus, Dialect, Matches, corpus, matches, num_ngrams
from tunelab.evaluation.unread import BETWEEN_SPACES, remark
from tunelab.records import Prediction

MAX_ORDER = 5
BETA = -math.log(0.5) / math.log(1.5) ** 2


@final
class Nist(Metric):
    bounds = (0.0, math.inf)
    corpus_weights = True
    variants: ClassVar[dict[str, str]] = {
        "": "the E2E script's mteval-v13a in perl",
        "e2e-python": "the E2E script's python port",
    }

    @property
    def _dialect(self) -> Dialect:
        return "python" if self.variant == "e2e-python" else "perl"

    def unread(self, references: Sequence[str]) -> str:
        return remark(references, str.split, words=BETWEEN_SPACES, instead=lambda script: "chrf or rouge_l:unicode")

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 13: information of the matches of order 1 to 5, n-grams of the output of order 1 to 5, reference
        length (perl: words of all references), references that are not empty (python: 1), 1."""
        texts = corpus("nist", predictions, self._dialect)
        found = matches(texts, MAX_ORDER)
        weights = _information(texts, found)
        info = [
            np.bincount(
                order.outputs.text, weights=order.hits * weight[order.outputs.ngram], minlength=len(predictions)
            )
            for order, weight in zip(found.orders, weights, strict=True)
        ]
        lengths = [_lengths([*map(len, references)], self._dialect) for references in texts.references]
        return np.column_stack(
            [*info, num_ngrams(texts, MAX_ORDER), np.array(lengths, dtype=np.float64).reshape(-1, 3)]
        )

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        matched, counted = totals[..., :MAX_ORDER], totals[..., MAX_ORDER : 2 * MAX_ORDER]
        words, references, examples = np.moveaxis(totals[..., 2 * MAX_ORDER :], -1, 0)
        if self._dialect == "perl":
            counted = np.maximum(counted, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = totals[..., MAX_ORDER] / (words / (references / examples))
            penalty = np.exp(-BETA * np.log(np.minimum(ratio, 1)) ** 2)
            return np.where(ratio <= 0, 0.0, penalty) * (matched / counted).sum(axis=-1)

    def signature(self) -> str:
        return f"nrefs:any|case:lc|ngrams:5|tok:mteval-v13a-{self._dialect}|script:e2e-metrics"


def _information(texts: Corpus, found: Matches) -> list[np.ndarray]:
    """Per order, the weight of every n-gram; of those without a reference it is not asked."""
    num_words = sum(len(tokens) for references in texts.references for tokens in references)
    before, weights = np.array([float(num_words)]), []
    for order in found.orders:
        total = order.references.totals()
        with np.errstate(divide="ignore", invalid="ignore"):
            weights.append(np.where(total > 0, np.log2(before[order.references.prefix] / total), 0.0))
        before = total
        if texts.dialect == "perl" and order is found.orders[0] and "0" in found.words:
            before = total.copy()
            before[found.words["0"]] = num_words
    return weights


def _lengths(lengths: Sequence[int], dialect: Dialect) -> tuple[float, float, float]:
    """Reference length, references, 1."""
    if dialect == "perl":
        return sum(lengths), sum(1 for length in lengths if length), 1
    return sum(lengths) / len(lengths), 1, 1
