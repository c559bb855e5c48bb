"""Loss of the reference text in bits per byte of its UTF-8 form: comparable between models with different tokenizers.

    bits_per_byte = summed loss in nats / (ln 2 * UTF-8 bytes of the supervised text)

The end-of-text token's loss counts, its text has no byte.
"""
# N examples

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from tunelab.contracts import Metric
from tunelab.records import Prediction


@final
class BitsPerByte(Metric):
    reads = "likelihood"
    higher_is_better = False
    bounds = (0.0, math.inf)

    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """N x 2: summed loss in nats, bytes."""
        for row in predictions:
            assert row.loss_sum is not None and row.num_bytes is not None, f"example {row.id}: no loss, or no bytes"
        rows = [(row.loss_sum, row.num_bytes) for row in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return totals[..., 0] / totals[..., 1] / math.log(2)

    def signature(self) -> str:
        return "unit:bits|per:utf8-byte|label-smoothing:0"
