"""METEOR 1.5 for English (0 to 1): words aligned by form, stem, synonym and paraphrase, and their order.

    METEOR = (1 - gamma (chunks / matched words)^beta) / ((1 - alpha) / precision + alpha / recall)
    alpha 0.85, beta 0.2, gamma 0.6; matches weigh 1 (exact), 0.6 (stem), 0.8 (synonym), 0.6 (paraphrase), content
    words 0.75 and function words 0.25

Denkowski and Lavie 2014. The alignment is the Java program's, one process for all sentences; its 23 numbers for the
best reference of an example are the statistics, and the score is computed from their sum: a corpus score, not a mean of
sentence scores. An example matched whole in one chunk adds no chunk. Texts are PTB tokens (evaluation/coco.py)
normalised again by METEOR (`-norm`), as the E2E challenge script has it.

Without Java or the extra `meteor` the score is missing. Sources: tuetschek/e2e-metrics 1b9c4d8,
pycocoevalcap/meteor/meteor.py lines 18-56; cmu-mtlab/meteor 57a9ec5, MeteorScorer.computeMetrics, MeteorStats.addStats,
Constants lines 181-207. Compared with the jar's own EVAL in tests/metrics/test_coco.py.
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.errors import CannotScore
from tunelab.evaluation import java
from tunelab.evaluation.coco import Captions, captions
from tunelab.evaluation.unread import foreign_remark
from tunelab.records import Prediction

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MODULE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
NUM_STATISTICS = 23
CHUNKS = 20


@final
class Meteor(Metric):
    bounds = (0.0, 1.0)

    def missing(self) -> str:
        return java.TOKENISER.missing() or java.METEOR.missing()

    def unread(self, references: Sequence[str]) -> str:
        made_for = "its stems, synonyms, paraphrases and weights are those of English"
        return foreign_remark(references, made_for=made_for, instead="chrf or rouge_l:unicode")

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 23, as the program writes them: words of output and reference, function words of both, then for each of
        four modules the matched content words of both and function words of both, chunks, matched words of both.

        Raises:
            CannotScore: no Java, no jar, or the program failed.
        """
        questions = [_question(caption) for caption in captions("meteor", predictions)]
        if not questions:
            return np.zeros((0, NUM_STATISTICS))
        rows = np.array([_numbers(answer) for answer in java.meteor().ask(questions)])
        matched = rows[:, 4:CHUNKS].reshape(-1, 4, 2, 2).sum(axis=(1, 2))
        whole = (matched == rows[:, :2]).all(axis=1) & (rows[:, CHUNKS] == 1)
        rows[whole, CHUNKS] = 0
        return rows

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        modules = totals[..., 4:CHUNKS].reshape(*totals.shape[:-1], 4, 2, 2)  # module, content or function, side
        content, function = np.moveaxis(np.einsum("...mks,m->...ks", modules, MODULE_WEIGHTS), -2, 0)
        lengths, function_words = totals[..., 0:2], totals[..., 2:4]
        weighted_lengths = DELTA * (lengths - function_words) + (1 - DELTA) * function_words
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, recall = np.moveaxis((DELTA * content + (1 - DELTA) * function) / weighted_lengths, -1, 0)
            mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
            fragmentation = totals[..., CHUNKS] / (totals[..., CHUNKS + 1 :].sum(axis=-1) / 2)
            score = mean * (1 - GAMMA * fragmentation**BETA)
        return np.maximum(np.nan_to_num(score, nan=0.0), 0.0)

    def signature(self) -> str:
        return "METEOR:1.5|lang:en|norm:yes|nrefs:best|tok:ptb-3.4.1-nopunct|script:e2e-metrics"


def _question(caption: Captions) -> str:
    output = caption.output.replace("|||", "").replace("  ", " ")
    return " ||| ".join(("SCORE", *caption.references, output))


def _numbers(answer: str) -> list[float]:
    try:
        numbers = [float(number) for number in answer.split()]
    except ValueError:
        numbers = []
    if len(numbers) != NUM_STATISTICS:
        raise CannotScore(f"METEOR answered {answer[:80]!r} instead of {NUM_STATISTICS} numbers")
    return numbers
