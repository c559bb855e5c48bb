"""Which candidate of a search wins, and when a rung beyond the ladder is tried."""

import pytest

from tunelab.methods.full import Full
from tunelab.study.planning.planned import Candidate
from tunelab.study.planning.runs import _further, _Tried, _winner


def tried(*facts) -> list[_Tried]:
    """(state, validation loss) of each candidate."""
    return [_Tried(Candidate(Full(), None, {}), None, state, loss) for state, loss in facts]


@pytest.mark.parametrize(
    ("facts", "place"),
    [
        ([("finished", 2.0), ("finished", 1.5), ("finished", 1.7)], 1),
        ([("finished", 1.5), ("finished", 1.5)], 0),  # the first of equal ones
        ([("diverged", None), ("finished", 9.0), ("failed", None)], 1),
        ([("finished", 1.0), ("open", None)], None),  # it may still come
        ([("finished", 1.0), ("absent", None)], 0),
        ([("diverged", None), ("failed", None)], None),
        ([("finished", None), ("finished", 3.0)], 1),  # there was no validation row
    ],
)
def test_the_lowest_validation_loss_wins_when_none_may_still_come(facts, place):
    assert _winner(tried(*facts)) == place


def at(rung):
    return Candidate(Full(), rung, {})


@pytest.mark.parametrize(
    ("rungs", "winner", "beyond"),
    [([0, -1, 1], 1, 2), ([0, -1, 1], -1, -2), ([0, -1, 1], 0, None), ([None, None], None, None)],
)
def test_at_an_edge_of_the_ladder_one_rung_more_is_tried(rungs, winner, beyond):
    found = _further([at(rung) for rung in rungs], at(winner))
    assert (found and found.rung) == beyond
    if beyond is not None:
        assert found.method.learning_rate / Full.documented_rate.fget(Full()) == pytest.approx(10 ** (beyond / 2))
