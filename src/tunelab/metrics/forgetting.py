"""Rise of the loss on a fixed general text after tuning, in bits per byte, relative to the untouched base.

    forgetting = (summed loss of the tuned model - summed loss of the base) / (ln 2 * UTF-8 bytes)

The text is data/examples/general.py: 200 generated documents of several genres; one longer than batch.max_length is
read in overlapping rows. 0 for the base, below 0 where tuning helped on it. It is told in a study, where the base is a
row.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np

from tunelab.data.examples.general import general_signature
from tunelab.errors import CannotScore
from tunelab.evaluation.likelihood import Likelihood, bits, num_bytes
from tunelab.records import Prediction


@final
class Forgetting(Likelihood):
    reads = "general"
    bounds = (-math.inf, math.inf)

    def loss(self, prediction: Prediction) -> float:
        """What this document adds to the rise."""
        if prediction.base_loss_sum is None:
            raise CannotScore("it is told beside the study's base, which has not finished")
        return super().loss(prediction) - prediction.base_loss_sum

    def units(self, prediction: Prediction) -> float:
        return num_bytes(prediction)

    def scaled(self, nats_per_unit: np.ndarray) -> np.ndarray:
        return bits(nats_per_unit)

    def signature(self) -> str:
        return f"unit:bits|per:utf8-byte|text:{general_signature()}|relative-to:base"
