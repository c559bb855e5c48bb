"""ROUGE-L F1 against the best reference, mean over examples (0 to 1): Google's rouge-score, or `coco` of E2E.

    L = length of the longest common subsequence of prediction and reference tokens
    precision = L / tokens of the prediction, recall = L / tokens of the reference
    F1 = 2 precision recall / (precision + recall); an example counts its best reference
    coco: (1 + b^2) precision recall / (recall + b^2 precision) with b = 1.2, of the example's best precision and best
    recall, which may be of two references

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries". Tokens (lower case, runs of a-z and 0-9) and F1
are the package's own functions. L is computed here with one integer per row of the table instead of a Python
loop over its cells (Hyyrö 2004, "Bit-parallel LCS-length computation revisited"): the same length, so the same score
as `RougeScorer` to the last bit (tests/metrics/test_rouge_l.py).

coco is what the E2E challenge script prints (tuetschek/e2e-metrics 1b9c4d8, pycocoevalcap/rouge/rouge.py lines 37-94):
PTB tokens (evaluation/coco.py, Java); a text without any counts as one empty token. Compared with pycocoevalcap in
tests/metrics/test_coco.py.
"""
# N examples

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from types import SimpleNamespace
from typing import ClassVar, final

import numpy as np
from rouge_score.scoring import fmeasure
from rouge_score.tokenize import tokenize

from tunelab.contracts import Metric
from tunelab.evaluation.coco import Captions, captions
from tunelab.evaluation.java import TOKENISER
from tunelab.records import Prediction

COCO_BETA = 1.2


@final
class RougeL(Metric):
    bounds = (0.0, 1.0)
    variants: ClassVar[dict[str, str]] = {
        "": "no stemming",
        "stem": "Porter stemming of tokens longer than three characters",
        "coco": "coco-caption's, as the E2E script prints it (needs Java)",
    }

    def missing(self) -> str:
        return TOKENISER.missing() if self.variant == "coco" else ""

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: the example's F1, 1."""
        if self.variant == "coco":
            scores = [_coco_f(example) for example in captions("rouge_l", predictions)]
        else:
            to_tokens = rouge_tokens(stem=self.variant == "stem")
            scores = [_best_f1(prediction, to_tokens) for prediction in predictions]
        return np.array([(score, 1.0) for score in scores], dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        if self.variant == "coco":
            return "measure:rougeL-f1.2|nrefs:best|tok:ptb-3.4.1-nopunct|script:e2e-metrics"
        stem = "yes" if self.variant == "stem" else "no"
        return f"measure:rougeL-f1|nrefs:best|stem:{stem}|rouge-score:{version('rouge-score')}"


def rouge_tokens(*, stem: bool) -> Callable[[str], list[str]]:
    """The package's tokeniser; rouge_1 and rouge_2 count the same tokens."""
    if not stem:
        return lambda text: tokenize(text, None)
    from nltk.stem.porter import PorterStemmer

    # Words repeat and stemming is the slow part: each word is stemmed once.
    stemmer = SimpleNamespace(stem=lru_cache(maxsize=None)(PorterStemmer().stem))
    return lambda text: tokenize(text, stemmer)


def _best_f1(prediction: Prediction, to_tokens: Callable[[str], list[str]]) -> float:
    assert prediction.prediction is not None, f"example {prediction.id}: rouge_l needs generated text"
    assert prediction.references, f"example {prediction.id}: rouge_l needs a reference"
    predicted = to_tokens(prediction.prediction)
    positions = _positions(predicted)
    best = 0.0
    for reference in map(to_tokens, prediction.references):
        if predicted and reference:
            common = _longest_common_subsequence(reference, positions, len(predicted))
            best = max(best, fmeasure(common / len(predicted), common / len(reference)))
    return best


def _coco_f(example: Captions) -> float:
    output = example.output.split(" ")
    positions = _positions(output)
    precision = recall = 0.0
    for reference in (text.split(" ") for text in example.references):
        common = _longest_common_subsequence(reference, positions, len(output))
        precision, recall = max(precision, common / len(output)), max(recall, common / len(reference))
    weighted = recall + COCO_BETA**2 * precision
    return (1 + COCO_BETA**2) * precision * recall / weighted if weighted else 0.0


def _positions(tokens: list[str]) -> dict[str, int]:
    """Token -> integer whose bit i says that the token stands at position i."""
    positions: dict[str, int] = {}
    for position, token in enumerate(tokens):
        positions[token] = positions.get(token, 0) | 1 << position
    return positions


def _longest_common_subsequence(tokens: list[str], positions: dict[str, int], length: int) -> int:
    """Length of the longest common subsequence of `tokens` and the `length` tokens indexed by `positions`.

    Bit i of `open_bits` is 0 where column i of the dynamic-programming table is one more than column i - 1.
    """
    open_bits = every_bit = (1 << length) - 1
    for token in tokens:
        matches = open_bits & positions.get(token, 0)
        open_bits = (open_bits + matches | open_bits - matches) & every_bit
    return length - open_bits.bit_count()
