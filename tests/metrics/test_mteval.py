"""BLEU and NIST equal the E2E challenge script (tuetschek/e2e-metrics 1b9c4d8), perl and python.

e2e_script_scores.json: made-up texts with what `run_mteval` and `run_pymteval` of its measure_scores.py gave for them
(perl 5.36, its two printf formats widened to 15 decimals; null: the program stopped, dividing by zero). 120 further
random corpora of such words agreed to 1e-12.
"""

import json
import math
import random
from pathlib import Path

import pytest

from tunelab.evaluation.mteval import perl_tokens, python_tokens
from tunelab.evaluation.ngrams import count_ngrams
from tunelab.metrics.bleu import Bleu
from tunelab.metrics.nist import Nist
from tunelab.records import Prediction

CASES = json.loads(Path(__file__).with_name("e2e_script_scores.json").read_text())
METRICS = {
    "bleu:e2e": Bleu("e2e"),
    "bleu:e2e-python": Bleu("e2e-python"),
    "nist": Nist(),
    "nist:e2e-python": Nist("e2e-python"),
}


def total(metric, predictions):
    return float(metric.aggregate(metric.statistics(predictions).sum(axis=0)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("name", METRICS)
def test_equals_the_script(case, name):
    predictions = [
        Prediction(id=str(row), prompt="", prediction=output, references=tuple(references))
        for row, (output, references) in enumerate(zip(case["outputs"], case["references"], strict=True))
    ]
    score = total(METRICS[name], predictions)
    if case[name] is None:
        assert not math.isfinite(score)
    else:
        assert score == pytest.approx(case[name], rel=1e-12, abs=2e-15)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("example_baseline-output.txt", ["0.720293", "0.720293", "7.821152", "7.788888"]),
        ("example_edge-output.txt", ["0.643333", "0.658115", "6.557816", "6.027639"]),
    ],
)
def test_equals_the_script_on_its_own_example(official_example, outputs, expected):
    predictions = official_example(outputs)
    assert [f"{total(metric, predictions):.6f}" for metric in METRICS.values()] == expected


def test_the_cases_hold_what_the_dialects_disagree_on():
    differ = [case for case in CASES if case["nist:e2e-python"] is None or case["nist"] != case["nist:e2e-python"]]
    assert len(differ) > 10 and len(CASES) > 30


def test_tokens_of_both_dialects():
    text = "The CAFÉ's 1,000.50-ish £5 &quot;x&quot;, a-b 3-4."
    tokens = ["the", "cafÉ's", "1,000.50", "-", "ish", "£5", '"', "x", '"', ",", "a-b", "3", "-", "4", "."]
    assert perl_tokens(text) == tokens
    assert python_tokens(text) == [token.lower() for token in tokens]
    assert perl_tokens(" ") == [] and python_tokens(" ") == [""]
    assert perl_tokens("a-\nb") == ["a-", "b"] and python_tokens("a-\nb") == ["ab"]


@pytest.mark.parametrize("seed", range(5))
def test_ngrams_counted_by_sorting_equal_a_dictionary(seed):
    draw = random.Random(seed)
    texts = [draw.choices("abc", k=draw.randint(0, 7)) for _ in range(draw.randint(0, 6))]
    counts = count_ngrams(texts, 3)
    numbers = {0: {(): 0}}
    for order, counted in enumerate(counts.orders, start=1):
        expected = {}
        for text, words in enumerate(texts):
            for first in range(len(words) - order + 1):
                key = (text, tuple(words[first : first + order]))
                expected[key] = expected.get(key, 0) + 1
        assert sorted(counted.count.tolist()) == sorted(expected.values())
        assert [sum(n for (owner, _), n in expected.items() if owner == text) for text in range(len(texts))] == [
            int(counted.count[counted.text == text].sum()) for text in range(len(texts))
        ]
        # The same n-gram has the same number in every text, and its prefix is the number of its first words.
        by_size = sorted({ngram for _, ngram in expected}, key=lambda ngram: _number(ngram, numbers[order - 1], counts))
        numbers[order] = {ngram: place for place, ngram in enumerate(by_size)}
        found = {
            (int(text), int(number)): int(count)
            for text, number, count in zip(counted.text, counted.ngram, counted.count, strict=True)
        }
        assert found == {(text, numbers[order][ngram]): count for (text, ngram), count in expected.items()}
        if order > 1:
            assert all(
                counted.prefix[number] == numbers[order - 1][ngram[:-1]] for ngram, number in numbers[order].items()
            )


def _number(ngram, shorter, counts):
    return shorter[ngram[:-1]], counts.words[ngram[-1]]
