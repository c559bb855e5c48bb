"""Cases of the official evaluate-v1.1.py, worked out by hand from its normalize_answer, f1_score, exact_match_score."""

import json

import pytest

from tunelab.metrics.squad_em import SquadEm
from tunelab.metrics.squad_f1 import SquadF1
from tunelab.records import Prediction

CASES = [
    # answer, references, exact match, F1
    ("The Eagle", ["eagle"], 1, 1),
    ("the  eagle!", ["An Eagle."], 1, 1),
    ("a-b", ["ab"], 1, 1),
    ("U.S.", ["us"], 1, 1),
    ("theatre", ["atre"], 0, 0),
    ("in the U.S. of America", ["America"], 0, 2 * (1 / 4) * 1 / (1 / 4 + 1)),
    ("b b c", ["b c c"], 0, 2 / 3),
    ("no", ["yes", "no way", "No"], 1, 1),
    ("", ["the"], 1, 0),
    ("", ["x"], 0, 0),
    ("café £5", ["Café £5"], 1, 1),
    ("“x”", ["x"], 0, 0),
]


@pytest.mark.parametrize(("answer", "references", "exact", "f1"), CASES)
def test_agrees_with_the_official_rules(answer, references, exact, f1):
    row = Prediction(id="0", prompt="", prediction=answer, references=tuple(references))
    assert SquadEm().statistics([row]).tolist() == [[exact, 1.0]]
    assert SquadF1().statistics([row])[0] == pytest.approx([f1, 1.0])


def test_scores_are_percent():
    rows = [Prediction(id=str(row), prompt="", prediction="x y", references=(text,)) for row, text in enumerate("xx")]
    assert SquadF1().aggregate(SquadF1().statistics(rows).sum(axis=0)) == pytest.approx(200 / 3)
    assert SquadEm().aggregate(SquadEm().statistics(rows).sum(axis=0)) == 0.0


def test_every_answer_of_the_real_questions_is_right_against_all_of_its_question(shared):
    data = json.loads((shared / "data" / "squad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    questions = [q for article in data for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    rows = [
        Prediction(id=q["id"], prompt="", prediction=answer["text"], references=tuple(a["text"] for a in q["answers"]))
        for q in questions
        for answer in q["answers"]
    ]
    assert len(rows) > 1000
    assert SquadEm().aggregate(SquadEm().statistics(rows).sum(axis=0)) == 100.0
