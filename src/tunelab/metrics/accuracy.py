"""Share of predictions that name the right label (0 to 1); case and white space aside.

    accuracy = examples whose prediction is the label / examples

For tasks whose answer is one of a few labels. Nothing is searched in the text: "positive." or "It is positive" is not
the label "positive". With several references any of them is right.
"""
# N examples

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction


@final
class Accuracy(Metric):
    bounds = (0.0, 1.0)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: 1 where the label is right, 1."""
        rows = []
        for row in predictions:
            assert row.prediction is not None, f"example {row.id}: accuracy needs generated text"
            assert row.references, f"example {row.id}: accuracy needs a reference"
            rows.append((_label(row.prediction) in map(_label, row.references), 1.0))
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "nrefs:any|case:folded|whitespace:collapsed"


def _label(text: str) -> str:
    return " ".join(text.casefold().split())
