import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from tunelab.metrics.rouge_1 import Rouge1
from tunelab.metrics.rouge_2 import Rouge2
from tunelab.records import Prediction


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize(("metric", "name"), [(Rouge1, "rouge1"), (Rouge2, "rouge2")])
def test_equals_rouge_scorer_to_the_last_bit_on_random_words(metric, name, stem):
    draw = random.Random(0)
    words = ["running", "runs", "ran", "cities", "city", "a", "the", "café", "x-ray", "", "\n", "U.S.", "1,000"]

    def text(longest):
        return " ".join(draw.choices(words, k=draw.randint(0, longest)))

    rows = [
        Prediction(
            id=str(row), prompt="", prediction=text(30), references=tuple(text(30) for _ in range(draw.randint(1, 3)))
        )
        for row in range(80)
    ]
    scorer = RougeScorer([name], use_stemmer=stem)
    expected = [scorer.score_multi(row.references, row.prediction)[name].fmeasure for row in rows]
    scored = metric("stem" if stem else "")
    statistics = scored.statistics(rows)
    assert statistics[:, 0].tolist() == expected
    assert scored.aggregate(statistics.sum(axis=0)) == pytest.approx(sum(expected) / len(expected), rel=1e-14)


def test_counts_each_word_as_often_as_the_text_that_has_it_less():
    row = Prediction(id="0", prompt="", prediction="a a a b", references=("a b b c d", "x"))
    # one a and one b: precision 2/4, recall 2/5
    assert Rouge1().statistics([row])[0, 0] == pytest.approx(4 / 9)
    # the pair a b: precision 1/3, recall 1/4
    assert Rouge2().statistics([row])[0, 0] == pytest.approx(2 / 7)
