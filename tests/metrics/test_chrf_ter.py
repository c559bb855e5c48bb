"""chrF, TER and mean sentence BLEU equal sacrebleu."""

import random
from itertools import zip_longest

import numpy as np
import pytest
import sacrebleu

from tunelab.metrics.bleu4_sentence import Bleu4Sentence
from tunelab.metrics.chrf import Chrf
from tunelab.metrics.ter import Ter
from tunelab.records import Prediction

OFFICIAL = {Chrf: sacrebleu.corpus_chrf, Ter: sacrebleu.corpus_ter}


def random_rows(seed, *, words):
    draw = random.Random(seed)

    def text(longest):
        return " ".join(draw.choices(words, k=draw.randint(0, longest)))

    return [
        Prediction(id=str(row), prompt="", prediction=text(8), references=tuple(text(8) for _ in range(1 + row % 3)))
        for row in range(draw.randint(1, 6))
    ]


def total(metric, predictions):
    return float(metric.aggregate(metric.statistics(predictions).sum(axis=0)))


@pytest.mark.parametrize("metric", [Chrf, Ter])
@pytest.mark.parametrize("seed", range(12))
def test_equals_sacrebleu_on_random_words(metric, seed):
    # Every third corpus has words too short for all orders of characters.
    words = ["a", "b"] if seed % 3 == 0 else ["the", "Pub", "is", "cheap,", "£20-25.", "near", "near"]
    predictions = random_rows(seed, words=words)
    streams = list(zip_longest(*(row.references for row in predictions)))
    expected = OFFICIAL[metric]([row.prediction for row in predictions], streams).score
    assert total(metric(), predictions) == pytest.approx(expected, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("metric", [Chrf, Ter])
@pytest.mark.parametrize(("output", "reference"), [("", ""), ("", "a b"), ("a b", ""), ("a", "b"), ("a b c", "a b c")])
def test_equals_sacrebleu_where_the_formula_has_corners(metric, output, reference):
    expected = OFFICIAL[metric]([output], [[reference]]).score
    row = Prediction(id="0", prompt="", prediction=output, references=(reference,))
    assert total(metric(), [row]) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("metric", [Chrf, Ter])
def test_resampled_corpora_equal_sacrebleu(metric):
    predictions = random_rows(3, words=["the", "pub", "is", "cheap", "near"]) * 2
    drawn = np.random.default_rng(0).integers(0, len(predictions), size=(6, len(predictions)))
    scores = metric().aggregate(metric().statistics(predictions)[drawn].sum(axis=1))
    for score, draw in zip(scores, drawn, strict=True):
        chosen = [predictions[row] for row in draw]
        streams = list(zip_longest(*(row.references for row in chosen)))
        expected = OFFICIAL[metric]([row.prediction for row in chosen], streams).score
        assert score == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_sentence_bleu_is_the_mean_of_sacrebleus(seed):
    predictions = random_rows(seed, words=["the", "Pub", "is", "cheap,", "near"])
    each = [sacrebleu.sentence_bleu(row.prediction, list(row.references)).score for row in predictions]
    statistics = Bleu4Sentence().statistics(predictions)
    assert statistics[:, 0].tolist() == each
    assert total(Bleu4Sentence(), predictions) == pytest.approx(sum(each) / len(each), rel=1e-14)


def test_signatures_are_sacrebleus_own():
    rows = [Prediction(id="0", prompt="", prediction="a b", references=("a b", "a"))]
    for metric, official in ((Chrf(), sacrebleu.CHRF()), (Ter(), sacrebleu.TER())):
        metric.statistics(rows)
        official.corpus_score(["a b"], [["a b"], ["a"]])
        assert metric.signature() == str(official.get_signature())
    sentence = Bleu4Sentence()
    sentence.statistics(rows)
    assert sentence.signature().startswith("mean:sentence|nrefs:2|") and "eff:yes" in sentence.signature()
