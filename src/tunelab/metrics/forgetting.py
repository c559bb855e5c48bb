"""Rise of the loss on a fixed general text after tuning, in bits per byte, relative to the untouched base.

    forgetting = (summed loss of the tuned model - summed loss of the base) / (ln 2 * UTF-8 bytes)

The text is data/examples/general.py: 200 generated documents of several genres; one longer than batch.max_length is read in
overlapping rows. 0 for the base, below 0 where tuning helped on it. It is told in a study, where the base is a row.
"""
# N documents

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.data.examples.general import general_signature
from tunelab.errors import CannotScore
from tunelab.records import Prediction


@final
class Forgetting(Metric):
    reads = "general"
    higher_is_better = False

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: rise of the summed loss in nats, bytes."""
        for row in predictions:
            assert row.loss_sum is not None and row.num_bytes is not None, f"document {row.id}: no loss, or no bytes"
        if any(row.base_loss_sum is None for row in predictions):
            raise CannotScore("it is told beside the study's base, which has not finished")
        rows = [(row.loss_sum - row.base_loss_sum, row.num_bytes) for row in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return totals[..., 0] / totals[..., 1] / math.log(2)

    def signature(self) -> str:
        return f"unit:bits|per:utf8-byte|text:{general_signature()}|relative-to:base"
