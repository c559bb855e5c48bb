import random

import pytest
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from tunelab.evaluation.scripts import words
from tunelab.metrics.rouge_1 import Rouge1
from tunelab.metrics.rouge_2 import Rouge2
from tunelab.metrics.rouge_l import RougeL
from tunelab.records import Prediction

METRICS = [(Rouge1, "rouge1"), (Rouge2, "rouge2"), (RougeL, "rougeL")]


class UnicodeWords(Tokenizer):
    def tokenize(self, text):
        return words(text)


def f1(metric, output, *references):
    row = Prediction(id="0", prompt="", prediction=output, references=references)
    return float(metric("unicode").statistics([row])[0, 0])


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_equals_rouge_scorer_with_this_tokeniser_to_the_last_bit(metric, name):
    draw = random.Random(0)
    pieces = "दिल्ली राजधानी Москва 北京是首都。 コーヒー ที่นี่ 서울은 café the 1,000".split()

    def text(longest):
        return " ".join(draw.choices(pieces, k=draw.randint(0, longest)))

    rows = [
        Prediction(id=str(row), prompt="", prediction=text(12), references=tuple(text(12) for _ in range(1 + row % 3)))
        for row in range(60)
    ]
    scorer = RougeScorer([name], tokenizer=UnicodeWords())
    expected = [scorer.score_multi(row.references, row.prediction)[name].fmeasure for row in rows]
    assert metric("unicode").statistics(rows)[:, 0].tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_hindi_by_hand():
    output, reference = "दिल्ली भारत की राजधानी है", "भारत की राजधानी दिल्ली है।"
    assert f1(Rouge1, output, reference) == 1  # the same five words
    assert f1(Rouge2, output, reference) == pytest.approx(2 / 4)  # two of four pairs
    assert f1(RougeL, output, reference) == pytest.approx(4 / 5)  # all but the first, in order


def test_chinese_by_hand():
    assert f1(RougeL, "我喜欢北京", "我不喜欢北京。") == pytest.approx(10 / 11)  # 5 of 5 characters, 5 of 6


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_ascii_text_has_the_score_of_the_default(metric, name):
    draw = random.Random(1)
    texts = [" ".join(draw.choices(["The", "pub's", "x-ray", "U.S.", "1,000", "a_b"], k=9)) for _ in range(40)]
    rows = [
        Prediction(id=str(row), prompt="", prediction=output, references=(reference,))
        for row, (output, reference) in enumerate(zip(texts[:20], texts[20:], strict=True))
    ]
    assert metric("unicode").statistics(rows).tolist() == metric().statistics(rows).tolist()


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_the_signature_names_the_tokeniser_and_the_defaults_is_as_before(metric, name):
    default = metric().signature()
    assert default == f"measure:{name}-f1|nrefs:best|stem:no|rouge-score:0.1.2"
    assert metric("unicode").signature() == default.replace("stem:no|", "stem:no|tok:unicode-words|norm:nfc|")
