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

unicode: the same of words of any script (evaluation/scripts.py), as `RougeScorer(tokenizer=...)` takes them; of ASCII
text the same score. The default throws every other letter away: a text in another script has no word, and scores 0.

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
from tunelab.evaluation.scripts import words
from tunelab.evaluation.unread import BETWEEN_SPACES, remark
from tunelab.records import Prediction

COCO_BETA = 1.2


@final
class RougeL(Metric):
    bounds = (0.0, 1.0)
    variants: ClassVar[dict[str, str]] = {
        "": "no stemming",
        "stem": "Porter stemming of tokens longer than three characters",
        "unicode": "words of any script; a letter a word where a script has no spaces",
        "coco": "coco-caption's, as the E2E script prints it (needs Java)",
    }

    def missing(self) -> str:
        return TOKENISER.missing() if self.variant == "coco" else ""

    def unread(self, references: Sequence[str]) -> str:
        if self.variant == "coco":
            return remark(references, str.split, words=BETWEEN_SPACES, instead=lambda script: "rouge_l:unicode")
        return rouge_remark("rouge_l", self.variant, references)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: the example's F1, 1."""
        if self.variant == "coco":
            scores = [_coco_f(example) for example in captions("rouge_l", predictions)]
        else:
            to_tokens = rouge_tokens(self.variant)
            scores = [_best_f1(prediction, to_tokens) for prediction in predictions]
        return np.array([(score, 1.0) for score in scores], dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        if self.variant == "coco":
            return "measure:rougeL-f1.2|nrefs:best|tok:ptb-3.4.1-nopunct|script:e2e-metrics"
        return rouge_signature("rougeL", self.variant)


def rouge_tokens(variant: str) -> Callable[[str], list[str]]:
    """The package's tokeniser, or that of `unicode`; rouge_1 and rouge_2 count the same tokens."""
    if variant == "unicode":
        return words
    if variant != "stem":
        return lambda text: tokenize(text, None)
    from nltk.stem.porter import PorterStemmer

    # Words repeat and stemming is the slow part: each word is stemmed once.
    stemmer = SimpleNamespace(stem=lru_cache(maxsize=None)(PorterStemmer().stem))
    return lambda text: tokenize(text, stemmer)


def rouge_signature(measure: str, variant: str) -> str:
    stem = "yes" if variant == "stem" else "no"
    tokens = "tok:unicode-words|norm:nfc|" if variant == "unicode" else ""
    return f"measure:{measure}-f1|nrefs:best|stem:{stem}|{tokens}rouge-score:{version('rouge-score')}"


def rouge_remark(name: str, variant: str, references: Sequence[str]) -> str:
    """See `contracts.Metric.unread`."""
    if variant == "unicode":
        return ""
    unstemmed = rouge_tokens("")  # a stem lacks letters that were read
    return remark(references, unstemmed, words="a run of a-z and 0-9", instead=lambda script: f"{name}:unicode")


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
