import math

import numpy as np
import pytest

from tunelab.metrics.bits_per_byte import BitsPerByte
from tunelab.metrics.bits_per_token import BitsPerToken
from tunelab.metrics.loss import Loss
from tunelab.metrics.perplexity import Perplexity
from tunelab.metrics.sequence_loss import SequenceLoss
from tunelab.records import Prediction

ROWS = [
    Prediction(id="0", prompt="", loss_sum=2.0, num_tokens=1, num_bytes=5),
    Prediction(id="1", prompt="", loss_sum=4.0, num_tokens=7, num_bytes=10),
    Prediction(id="2", prompt="", loss_sum=0.0, num_tokens=4, num_bytes=9),
]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Loss(), 0.5),
        (Perplexity(), math.exp(0.5)),
        (BitsPerToken(), 0.5 / math.log(2)),
        (BitsPerByte(), 0.25 / math.log(2)),
        (SequenceLoss(), 2.0),
    ],
)
def test_tokens_weigh_the_same_whatever_their_example(metric, expected):
    assert metric.aggregate(metric.statistics(ROWS).sum(axis=0)) == pytest.approx(expected, rel=1e-15)
    assert metric.reads == "likelihood" and not metric.higher_is_better


def test_bits_are_the_logarithm_of_perplexity():
    totals = np.array([[7.0, 3.0], [0.5, 9.0]])
    assert np.allclose(np.log2(Perplexity().aggregate(totals)), BitsPerToken().aggregate(totals), rtol=1e-14)
