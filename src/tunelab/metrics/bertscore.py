"""BERTScore F1 (0 to 1, seldom below 0): words of output and reference matched by their vectors in roberta-large.

    precision = mean over output tokens of the largest cosine with a reference token; recall the other way round
    F1 = 2 precision recall / (precision + recall), of the best reference; the score is the mean over examples
    vectors: layer 17; start and end token weigh nothing, no idf, not rescaled; an empty text scores 0

Zhang et al. 2020 (arXiv:1904.09675). Computed by the package bert-score (extra `bertscore`), whose hash is the
signature. Its own scorer is not used: with transformers 5 it fails on empty texts, and leaves out the space before the
first word that RoBERTa's vocabulary wants, which is another score under the same hash. So the package is handed the
tokenizer, with that space, and no empty text. Compared with cosines by hand, and with numbers of its own scorer under
transformers 4.57, in tests/metrics/test_bertscore.py.

The model (1.4 GB) is downloaded once and stays in memory for as long as the process that scores lives.
"""
# N examples

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import final

import numpy as np

from tunelab import device
from tunelab.contracts import Metric
from tunelab.errors import CannotScore
from tunelab.evaluation.java import encoded
from tunelab.evaluation.unread import foreign_remark
from tunelab.records import Prediction

MODEL, LAYERS, MAX_TOKENS = "roberta-large", 17, 512
"""The package's choice for English; 512 is the longest text that the model reads, the rest is cut."""

Pairs = Sequence[tuple[str, str]]


@final
class BertScore(Metric):
    bounds = (-1.0, 1.0)

    def missing(self) -> str:
        here = find_spec("bert_score") is not None
        return "" if here else "bertscore needs the package bert-score; pip install 'tunelab[bertscore]'"

    def unread(self, references: Sequence[str]) -> str:
        made_for = f"its model ({MODEL}) has learned English"
        return foreign_remark(references, made_for=made_for, instead="chrf or rouge_l:unicode")

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: F1 with the best reference, 1.

        Raises:
            CannotScore: the package is not here, or its model is not and cannot be downloaded.
        """
        pairs: list[tuple[str, str]] = []
        for row in predictions:
            assert row.prediction is not None, f"example {row.id}: bertscore needs generated text"
            assert row.references, f"example {row.id}: bertscore needs a reference"
            output = _clean(row.prediction)
            pairs += [(output, _clean(text)) for text in row.references]
        if reason := self.missing():
            raise CannotScore(reason)
        scores = np.zeros(len(pairs))
        filled = [number for number, pair in enumerate(pairs) if all(pair)]
        if filled:
            scores[filled] = _scorer()([pairs[number] for number in filled])
        ends = np.cumsum([len(row.references) for row in predictions], dtype=np.int64)
        best = [each.max() for each in np.split(scores, ends[:-1])] if len(predictions) else []
        return np.column_stack([np.array(best, dtype=np.float64), np.ones(len(predictions))])

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        """The package's hash: model, layer, idf, its version and that of transformers; without it the first three."""
        settings = f"{MODEL}_L{LAYERS}_no-idf"
        if self.missing():
            return f"{settings}|nrefs:best"
        from bert_score.utils import get_hash

        return f"{get_hash(MODEL, LAYERS, False, False, False, False)}|nrefs:best"


def _clean(text: str) -> str:
    """Outer white space removed, as the package does; half a surrogate, which the tokenizer refuses, as `?`."""
    return encoded(text.strip()).decode("utf-8")


@cache
def _scorer() -> Callable[[Pairs], np.ndarray]:
    """Pairs of output and reference, none empty, to their F1.

    Raises:
        CannotScore: the model is not here and cannot be downloaded.
    """
    from bert_score.utils import bert_cos_score_idf, get_model
    from transformers import AutoTokenizer

    place = str(device.chosen())  # as the package's own scorer chooses
    try:
        tokenizer = AutoTokenizer.from_pretrained(MODEL, add_prefix_space=True, model_max_length=MAX_TOKENS)
        model = get_model(MODEL, LAYERS).to(place)  # pyright: ignore[reportArgumentType] a wrapper hides `to`'s types
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise CannotScore(f"bertscore needs the model {MODEL}, downloaded once with a network: {reason}") from error
    weights = defaultdict(lambda: 1.0, {tokenizer.cls_token_id: 0.0, tokenizer.sep_token_id: 0.0})

    def f1(pairs: Pairs) -> np.ndarray:
        outputs, references = (list(texts) for texts in zip(*pairs, strict=True))
        scores = bert_cos_score_idf(model, references, outputs, tokenizer, weights, device=place)
        return scores[:, 2].double().numpy()

    return f1
