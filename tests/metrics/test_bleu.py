import math
import random
from collections import Counter
from itertools import zip_longest

import numpy as np
import pytest
import sacrebleu

from tunelab.metrics.bleu import Bleu
from tunelab.records import Prediction


def assert_equals_sacrebleu(predictions):
    streams = list(zip_longest(*(row.references for row in predictions)))
    expected = sacrebleu.corpus_bleu([row.prediction for row in predictions], streams).score
    metric = Bleu()
    score = float(metric.aggregate(metric.statistics(predictions).sum(axis=0)))
    assert score == pytest.approx(expected, rel=1e-14)
    assert f"{score:.10f}" == f"{expected:.10f}"


def rows(*pairs):
    return [
        Prediction(id=str(row), prompt="", prediction=text, references=references)
        for row, (text, references) in enumerate(pairs)
    ]


@pytest.mark.parametrize("outputs", ["example_baseline-output.txt", "example_edge-output.txt"])
def test_equals_sacrebleu_on_real_text_with_several_references(official_example, outputs):
    predictions = official_example(outputs)
    assert len({len(row.references) for row in predictions}) > 1, "the example has differing numbers of references"
    assert_equals_sacrebleu(predictions)


@pytest.mark.parametrize("seed", range(12))
def test_equals_sacrebleu_on_random_words(seed):
    draw = random.Random(seed)

    def text(longest):
        return " ".join(draw.choices(["the", "pub", "is", "cheap", "£20-25,", "near"], k=draw.randint(0, longest)))

    pairs = [(text(8), tuple(text(9) for _ in range(draw.randint(1, 4)))) for _ in range(draw.randint(1, 8))]
    assert_equals_sacrebleu(rows(*pairs))


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([("", ("a b c d e",))], id="only an empty output"),
        pytest.param([("x y z w v", ("a b c d e",))], id="no match"),
        pytest.param([("a b", ("a b",))], id="shorter than four words"),
        pytest.param([("a b c d e f", ("a x c x e x",))], id="three orders smoothed"),
        pytest.param([("a b c d", ("",))], id="empty reference"),
        pytest.param([("", ("",))], id="nothing at all"),
    ],
)
def test_equals_sacrebleu_where_the_formula_has_corners(pairs):
    assert_equals_sacrebleu(rows(*pairs))


def test_equals_the_formula_written_out():
    output, references = "a b c d e f g".split(), ["a b c x e f g h i".split(), "c d".split()]
    log_precisions = 0.0
    for order in range(1, 5):
        found = Counter(tuple(output[i : i + order]) for i in range(len(output) - order + 1))
        most: Counter = Counter()
        for reference in references:
            most |= Counter(tuple(reference[i : i + order]) for i in range(len(reference) - order + 1))
        matched = sum((found & most).values())
        # Order 4 has no match and is the first such order: it counts as half a match.
        log_precisions += math.log((matched or 0.5) / sum(found.values())) / 4
    expected = 100 * math.exp(1 - 9 / 7) * math.exp(log_precisions)  # of 9 and 2 words, 9 is closer to 7
    metric = Bleu()
    statistics = metric.statistics(rows((" ".join(output), tuple(map(" ".join, references)))))
    assert float(metric.aggregate(statistics[0])) == pytest.approx(expected, rel=1e-14)


def test_resampled_corpora_equal_sacrebleu(official_example):
    predictions = official_example("example_edge-output.txt")
    drawn = np.random.default_rng(0).integers(0, len(predictions), size=(20, len(predictions)))
    metric = Bleu()
    scores = metric.aggregate(metric.statistics(predictions)[drawn].sum(axis=1))
    for score, draw in zip(scores, drawn, strict=True):
        chosen = [predictions[row] for row in draw]
        streams = list(zip_longest(*(row.references for row in chosen)))
        expected = sacrebleu.corpus_bleu([row.prediction for row in chosen], streams).score
        assert score == pytest.approx(expected, rel=1e-14)


def test_signature_is_sacrebleus_own(official_example):
    metric = Bleu()
    metric.statistics(rows(("a b", ("a b", "a c")), ("b", ("b", "c"))))
    reference = sacrebleu.BLEU()
    reference.corpus_score(["a b", "b"], [["a b", "b"], ["a c", "c"]])
    assert metric.signature() == str(reference.get_signature())
    metric.statistics(official_example("example_baseline-output.txt"))
    assert metric.signature().startswith("nrefs:var|")
