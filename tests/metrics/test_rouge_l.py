import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from tunelab.metrics.rouge_l import RougeL
from tunelab.records import Prediction


def assert_equals_rouge_scorer(predictions, *, stem):
    scorer = RougeScorer(["rougeL"], use_stemmer=stem)
    expected = [scorer.score_multi(row.references, row.prediction)["rougeL"].fmeasure for row in predictions]
    metric = RougeL("stem" if stem else "")
    statistics = metric.statistics(predictions)
    assert statistics[:, 0].tolist() == expected
    assert metric.aggregate(statistics.sum(axis=0)) == pytest.approx(sum(expected) / len(expected), rel=1e-15)


@pytest.mark.parametrize("stem", [False, True])
def test_equals_rouge_scorer_to_the_last_bit_on_random_words(stem):
    draw = random.Random(0)
    words = ["running", "runs", "ran", "cities", "city", "a", "the", "café", "x-ray", "", "\n", "U.S.", "1,000"]

    def text(longest):
        return " ".join(draw.choices(words, k=draw.randint(0, longest)))

    predictions = [
        Prediction(
            id=str(row),
            prompt="",
            prediction=text(90),
            references=tuple(text(90) for _ in range(draw.randint(1, 3))),
        )
        for row in range(60)
    ]
    assert_equals_rouge_scorer(predictions, stem=stem)


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("outputs", ["example_baseline-output.txt", "example_edge-output.txt"])
def test_equals_rouge_scorer_on_real_text(official_example, outputs, stem):
    assert_equals_rouge_scorer(official_example(outputs), stem=stem)


def test_counts_the_best_reference():
    row = Prediction(id="0", prompt="", prediction="a b c d", references=("x", "a c d e", "b"))
    # common subsequence a c d: precision 3/4, recall 3/4
    assert RougeL().statistics([row]).tolist() == [[0.75, 1.0]]
