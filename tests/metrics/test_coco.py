"""METEOR, ROUGE-L and CIDEr equal the code and jars of coco-caption (pycocoevalcap), which the E2E script carries."""

import math
import random

import numpy as np
import pytest

from tunelab.errors import CannotScore
from tunelab.evaluation import coco, java
from tunelab.metrics.cider import Cider
from tunelab.metrics.meteor import Meteor
from tunelab.metrics.rouge_l import RougeL
from tunelab.records import Prediction

pytestmark = pytest.mark.usefixtures("java")

WORDS = [
    "the", "The", "pub", "PUBS", "cheap", "inexpensive", "running", "runs", "near to", "close to", "£20-25", "1,000",
    ".", ",", "...", "U.S.", "St.", "it's", "don't", '"', "''", "``", "(x)", "[y]", "{z}", "-", "--", "–", "café",
    "日本", "ß", "|||", "a|||b", "&amp;", "\u00a0", "\u2003", "5", "5-star", "%", "#", "@home", "http://x.y/z", ":)",
    "\t", "İ", "cannot",
]  # fmt: skip


def rows(*pairs):
    return [
        Prediction(id=str(row), prompt="", prediction=text, references=tuple(references))
        for row, (text, references) in enumerate(pairs)
    ]


def random_corpus(seed):
    draw = random.Random(seed)

    def text(longest):
        return draw.choice([" ", " ", ""]).join(draw.choices(WORDS, k=draw.randint(0, longest))).strip()

    longest = draw.choice([2, 6, 14])
    corpus = []
    for _ in range(draw.randint(1, 8)):
        references = [text(longest) or "pub" for _ in range(draw.randint(1, 4))]
        corpus.append((draw.choice([text(longest), text(longest), draw.choice(references), ""]), references))
    return rows(*corpus)


def official_tokens(predictions):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = {row.id: [{"caption": text} for text in row.references] for row in predictions}
    outputs = {row.id: [{"caption": row.prediction}] for row in predictions}
    return PTBTokenizer().tokenize(texts), PTBTokenizer().tokenize(outputs)


@pytest.fixture(scope="module")
def official_meteor():
    from pycocoevalcap.meteor.meteor import Meteor as Official

    return Official()


def total(metric, predictions):
    return float(metric.aggregate(metric.statistics(predictions).sum(axis=0)))


@pytest.mark.parametrize("seed", range(6))
def test_equal_coco_caption_on_random_words(seed, official_meteor):
    from pycocoevalcap.cider.cider import Cider as OfficialCider
    from pycocoevalcap.rouge.rouge import Rouge as OfficialRouge

    predictions = random_corpus(seed)
    references, outputs = official_tokens(predictions)
    ours = coco.captions("test", predictions)
    assert [caption.output for caption in ours] == [text for (text,) in outputs.values()]
    assert [caption.references for caption in ours] == list(references.values())
    for metric, official in ((RougeL("coco"), OfficialRouge()), (Cider(), OfficialCider())):
        expected, each = official.compute_score(references, outputs)
        statistics = metric.statistics(predictions)
        assert np.allclose(statistics[:, 0], each, rtol=1e-10, atol=1e-12)
        assert total(metric, predictions) == pytest.approx(float(expected), rel=1e-10, abs=1e-12)
    expected, each = official_meteor.compute_score(references, outputs)
    statistics = Meteor().statistics(predictions)
    assert total(Meteor(), predictions) == pytest.approx(expected, rel=1e-12)
    assert Meteor().aggregate(statistics).tolist() == pytest.approx(each, rel=1e-12)


@pytest.mark.parametrize(
    ("outputs", "meteor", "rouge", "cider"),
    [
        ("example_baseline-output.txt", "0.480072", "0.790953", "2.303943"),
        ("example_edge-output.txt", "0.418395", "0.643082", "1.901310"),
    ],
)
def test_equal_the_e2e_script_on_its_own_example(official_example, outputs, meteor, rouge, cider):
    predictions = official_example(outputs)
    assert f"{total(Meteor(), predictions):.6f}" == meteor
    assert f"{total(RougeL('coco'), predictions):.6f}" == rouge
    assert f"{total(Cider(), predictions):.6f}" == cider


def test_meteor_counts_no_chunk_of_an_example_that_is_matched_whole(official_meteor):
    predictions = rows(("a cheap pub", ["a cheap pub"]), ("near the pub", ["the pub is near"]))
    references, outputs = official_tokens(predictions)
    expected, _ = official_meteor.compute_score(references, outputs)
    assert total(Meteor(), predictions) == pytest.approx(expected, rel=1e-12)
    assert Meteor().statistics(predictions)[:, 20].tolist() == [0.0, 2.0]


def test_cider_of_one_example_is_zero_because_every_weight_is():
    assert total(Cider(), rows(("a cheap pub", ["a cheap pub"]))) == 0.0


def test_a_text_without_words_is_one_empty_token_for_coco_rouge():
    assert RougeL("coco").statistics(rows(("...", ["?"]), ("", ["a pub"]))).tolist() == [[1.0, 1.0], [0.0, 1.0]]


def test_line_breaks_inside_texts_do_not_shift_the_others():
    broken = "one\ntwo\r\nthree\u2028four\x0bfive\x85six\rseven"
    ours = coco.ptb_lines((broken, "", "a (b) pub.", "\n", "end"))
    assert ours == ("one two three four five six seven", "", "a -lrb- b -rrb- pub", "", "end")


def test_half_a_surrogate_is_scored_and_not_a_crash():
    assert math.isfinite(total(Meteor(), rows(("a \ud800 pub", ["a pub"]))))


def test_one_meteor_serves_all_calls(monkeypatch):
    total(Meteor(), rows(("a pub", ["a pub"])))
    monkeypatch.setattr(java, "Conversation", None)  # a second process cannot be started
    assert total(Meteor(), rows(("a cheap pub", ["the cheap pub"]))) > 0


@pytest.mark.parametrize("metric", [Meteor(), Cider(), RougeL("coco")])
def test_without_java_the_reason_says_what_to_install(metric, monkeypatch):
    coco.ptb_lines.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotScore, match=r"needs Java.*install it \(apt install default-jre-headless\)"):
        metric.statistics(rows(("a pub", ["a pub"])))


def test_without_the_extra_the_reason_names_it(monkeypatch):
    coco.ptb_lines.cache_clear()
    monkeypatch.setattr(java, "_jar", lambda path: None)
    with pytest.raises(CannotScore, match=r"pip install 'tunelab\[meteor\]'"):
        Cider().statistics(rows(("a pub", ["a pub"])))


def test_a_program_that_fails_is_told_in_its_own_words():
    broken = java.METEOR._replace(arguments=("-Xmx1m", "-Xms5m", "-version"))
    with pytest.raises(CannotScore, match="METEOR failed: .+"):
        broken.run("")
    with pytest.raises(CannotScore, match="METEOR failed: .+"):
        java.Conversation(broken).ask(["SCORE ||| a ||| a"] * 100_000)
