import pytest

from tunelab.metrics.exact_match import ExactMatch
from tunelab.records import Prediction


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("42", ("42",), 1.0),
        ("  the  answer\n", ("no", "the answer"), 1.0),
        ("The answer", ("the answer",), 0.0),
        ("42.", ("42",), 0.0),
        ("", ("42",), 0.0),
        ("a b", ("ab",), 0.0),
    ],
)
def test_matches_any_reference_after_collapsing_whitespace(text, references, expected):
    row = Prediction(id="0", prompt="", prediction=text, references=references)
    assert ExactMatch().statistics([row]).tolist() == [[expected, 1.0]]


def test_score_is_the_share_of_matches():
    rows = [Prediction(id=str(i), prompt="", prediction=str(i), references=("0", "2")) for i in range(4)]
    metric = ExactMatch()
    assert metric.aggregate(metric.statistics(rows).sum(axis=0)) == 0.5
