"""Loss of the reference text in bits per byte of its UTF-8 form: comparable between models with different tokenizers.

    bits_per_byte = summed loss in nats / (ln 2 * UTF-8 bytes of the supervised text)

The end-of-text token's loss counts, its text has no byte.
"""

from __future__ import annotations

from typing import final

import numpy as np

from tunelab.evaluation.likelihood import Likelihood, bits, num_bytes
from tunelab.records import Prediction


@final
class BitsPerByte(Likelihood):
    def units(self, prediction: Prediction) -> float:
        return num_bytes(prediction)

    def scaled(self, nats_per_unit: np.ndarray) -> np.ndarray:
        return bits(nats_per_unit)

    def signature(self) -> str:
        return "unit:bits|per:utf8-byte|label-smoothing:0"
