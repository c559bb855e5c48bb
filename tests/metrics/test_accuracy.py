import pytest

from tunelab.metrics.accuracy import Accuracy
from tunelab.records import Prediction


@pytest.mark.parametrize(
    ("text", "references", "right"),
    [
        ("positive", ("positive",), 1),
        (" Positive\n", ("positive",), 1),
        ("very  good", ("very good",), 1),
        ("b", ("a", "B"), 1),
        ("positive.", ("positive",), 0),
        ("It is positive", ("positive",), 0),
        ("", ("positive",), 0),
        ("STRASSE", ("straße",), 1),
    ],
)
def test_a_label_is_right_when_it_is_named_and_nothing_else(text, references, right):
    row = Prediction(id="0", prompt="", prediction=text, references=references)
    assert Accuracy().statistics([row]).tolist() == [[right, 1]]
