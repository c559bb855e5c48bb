"""CIDEr (0 to 10), as coco-caption and the E2E challenge script compute it: shared n-grams, rare ones weighing more.

    CIDEr = 10 * mean over examples, references and n = 1..4 of
            exp(-(bigrams of output - bigrams of reference)^2 / 72) * cosine of the n-gram vectors, matches clipped
    vector entry = count * (ln(examples) - ln(max(1, examples with the n-gram in a reference)))

Vedantam et al. 2015 (arXiv:1411.5726); this is its variant D with clipping and length penalty (sigma 6). An example's
statistic is its score: the weights come from the references of all examples, and intervals and tests hold them fixed.
With one example every weight is ln(1) = 0, and so is the score.

Tokens: evaluation/coco.py (Java). Source: tuetschek/e2e-metrics 1b9c4d8, pycocoevalcap/cider/cider_scorer.py lines
17-197. Compared with pycocoevalcap in tests/metrics/test_coco.py.
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.coco import Captions, captions
from tunelab.evaluation.java import TOKENISER
from tunelab.evaluation.ngrams import Counted, Lookup, count_ngrams
from tunelab.evaluation.unread import BETWEEN_SPACES, remark
from tunelab.records import Prediction

MAX_ORDER = 4
SIGMA = 6.0


@final
class Cider(Metric):
    bounds = (0.0, 10.0)
    corpus_weights = True

    def missing(self) -> str:
        return TOKENISER.missing()

    def unread(self, references: Sequence[str]) -> str:
        return remark(references, str.split, words=BETWEEN_SPACES, instead=lambda script: "chrf or rouge_l:unicode")

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: the example's CIDEr, 1."""
        scores = _scores(captions("cider", predictions))
        return np.column_stack([scores, np.ones(len(scores))])

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "measure:CIDEr-D|nrefs:mean|n:4|sigma:6|df:references|tok:ptb-3.4.1-nopunct|script:e2e-metrics"


def _scores(examples: Sequence[Captions]) -> np.ndarray:
    """Per example."""
    num_references = np.array([len(example.references) for example in examples], dtype=np.int64)
    example_of = np.concatenate([np.arange(len(examples)), np.repeat(np.arange(len(examples)), num_references)])
    texts = [example.output.split() for example in examples]
    texts += [reference.split() for example in examples for reference in example.references]
    orders = count_ngrams(texts, MAX_ORDER).orders
    num_bigrams = np.bincount(orders[1].text, weights=orders[1].count, minlength=len(texts))
    surplus = num_bigrams[example_of] - num_bigrams
    similarity = sum(_cosines(order, example_of, len(examples)) for order in orders) / MAX_ORDER
    similarity *= np.exp(-(surplus**2) / (2 * SIGMA**2))
    of_references = slice(len(examples), None)
    total = np.bincount(example_of[of_references], weights=similarity[of_references], minlength=len(examples))
    return 10 * total / num_references


def _cosines(order: Counted, example_of: np.ndarray, num_examples: int) -> np.ndarray:
    """Per text, its clipped cosine with the output of its example."""
    is_output = order.text < num_examples
    outputs, references = order.of(is_output), order.of(~is_output)
    seen = np.unique(example_of[references.text] * order.num_ngrams + references.ngram) % max(order.num_ngrams, 1)
    frequency = np.bincount(seen, minlength=order.num_ngrams)
    weights = math.log(max(num_examples, 1)) - np.log(np.maximum(frequency, 1))
    entries = order.count * weights[order.ngram]
    norms = np.sqrt(np.bincount(order.text, weights=entries**2, minlength=len(example_of)))
    theirs = entries[~is_output]
    ours = Lookup(outputs.text, outputs, entries[is_output]).values(example_of[references.text], references.ngram)
    common = np.bincount(references.text, weights=np.minimum(ours, theirs) * theirs, minlength=len(example_of))
    norm = norms * norms[example_of]
    return np.divide(common, norm, out=np.zeros(len(norm)), where=norm > 0)
