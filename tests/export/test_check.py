"""Two models' logits beside each other: one wrong entry among many is an error."""

import pytest
import torch

from tunelab.errors import RunError
from tunelab.export.check import LIMITS, compare

WORDS = {"what": "merged weights", "way_out": "report it"}


def logits() -> torch.Tensor:
    """The largest is 8 in size."""
    made = torch.randn(40, 500, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    made[3, 7] = -8.0
    return made


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("place", [(0, 0), (17, 250), (39, 499)])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_wrong_entry_among_twenty_thousand_is_an_error(kind, place, sign):
    trained, limit = logits(), LIMITS[kind]
    written = trained.clone()
    written[place] += sign * 8.0 * limit * 0.9
    found = compare(written, trained, limit=limit, **WORDS)
    assert found.share_of_largest_logit == pytest.approx(0.9 * limit, rel=1e-2) and found.limit == limit
    written[place] = trained[place] + sign * 8.0 * limit * 1.1
    with pytest.raises(RunError, match=r"^merged weights: logits differ by .* of the largest, .*; report it$"):
        compare(written, trained, limit=limit, **WORDS)


def test_the_difference_is_told_in_logits_and_as_a_share_of_the_largest_by_hand():
    trained = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    written = trained + torch.tensor([[0.0, 0.0], [0.0, -0.5]])
    assert compare(written, trained, limit=0.2, **WORDS) == (0.5, 0.125, 0.2)


def test_without_a_limit_it_is_told_alone():
    assert compare(logits() + 3.0, logits(), limit=None, **WORDS).largest_logit_difference == pytest.approx(3.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("limit", [1e-4, None])
def test_one_entry_that_is_no_number_is_an_error(value, limit):
    written = logits()
    written[11, 3] = value
    with pytest.raises(RunError, match="logits are not finite; report it"):
        compare(written, logits(), limit=limit, **WORDS)
