"""BLEU by sacrebleu's other tokenisers equals sacrebleu; what a machine lacks is said, and nothing is downloaded."""

import random
from types import SimpleNamespace

import pytest
import sacrebleu

import tunelab
from tunelab.evaluation import sacre
from tunelab.evaluation.sacre import TOKENIZERS, lacking
from tunelab.metrics.bleu import Bleu
from tunelab.metrics.bleu4_sentence import Bleu4Sentence
from tunelab.metrics.ter import Ter
from tunelab.records import Prediction

CHINESE = "今天天气很好，我们去公园散步。北京是首都 café the pub 2,000 ー วันนี้"
WITHOUT_PACKAGES = ("zh", "char", "intl")


def rows(seed):
    draw = random.Random(seed)

    def text():
        return "".join(draw.choices(CHINESE, k=draw.randint(0, 30)))

    return [
        Prediction(id=str(row), prompt="", prediction=text(), references=(text(), text()))
        for row in range(draw.randint(2, 6))
    ]


def streams(predictions):
    return [list(stream) for stream in zip(*(row.references for row in predictions), strict=True)]


def total(metric, predictions):
    return float(metric.aggregate(metric.statistics(predictions).sum(axis=0)))


@pytest.mark.parametrize("tokenizer", WITHOUT_PACKAGES)
@pytest.mark.parametrize("seed", range(6))
def test_bleu_equals_sacrebleus_own_call(tokenizer, seed):
    predictions = rows(seed)
    official = sacrebleu.BLEU(tokenize=tokenizer)
    expected = official.corpus_score([row.prediction for row in predictions], streams(predictions)).score
    metric = Bleu(tokenizer)
    assert total(metric, predictions) == pytest.approx(expected, rel=1e-14)
    assert metric.signature() == str(official.get_signature()) and f"|tok:{tokenizer}|" in metric.signature()


@pytest.mark.parametrize("tokenizer", WITHOUT_PACKAGES)
def test_sentence_bleu_equals_the_mean_of_sacrebleus(tokenizer):
    predictions = rows(1)
    each = [
        sacrebleu.sentence_bleu(row.prediction, list(row.references), tokenize=tokenizer).score for row in predictions
    ]
    metric = Bleu4Sentence(tokenizer)
    assert total(metric, predictions) == pytest.approx(sum(each) / len(each), rel=1e-14)
    assert f"|eff:yes|tok:{tokenizer}|" in metric.signature()


@pytest.mark.parametrize("seed", range(6))
def test_ter_for_asian_scripts_equals_sacrebleus(seed):
    predictions = rows(seed)
    official = sacrebleu.TER(normalized=True, asian_support=True)
    expected = official.corpus_score([row.prediction for row in predictions], streams(predictions)).score
    metric = Ter("asian")
    assert total(metric, predictions) == pytest.approx(expected, rel=1e-13)
    assert metric.signature() == str(official.get_signature())


def test_short_identical_chinese_is_100_by_characters_and_0_by_default():
    row = Prediction(id="0", prompt="", prediction="我们去公园散步。", references=("我们去公园散步。",))
    assert total(Bleu(), [row]) == 0
    assert total(Bleu("zh"), [row]) == pytest.approx(100)


@pytest.mark.parametrize("tokenizer", ["ja-mecab", "ko-mecab", "flores101", "flores200"])
def test_a_tokeniser_whose_packages_are_not_here_is_missing_with_the_extra(tokenizer, monkeypatch):
    monkeypatch.setattr(sacre, "find_spec", lambda name: None)
    extra = "sentencepiece" if tokenizer.startswith("flores") else tokenizer
    score = tunelab.score(["一"], ["一"], metrics=[f"bleu:{tokenizer}"])[f"bleu:{tokenizer}"]
    assert score.value is None and score.missing == Bleu(tokenizer).missing()
    assert score.missing.endswith(f"pip install 'tunelab[{extra}]'")
    assert f"|tok:{tokenizer}|smooth:exp|" in score.signature


def test_sentence_pieces_are_not_downloaded_and_the_way_to_get_them_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(sacre, "find_spec", lambda name: object())
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.download_file", lambda *_: pytest.fail("downloads"))
    said = lacking("flores200")
    assert f"its model of sentence pieces at {tmp_path / 'models' / 'flores200sacrebleuspm'}; " in said
    assert "sacrebleu.BLEU(tokenize='flores200')" in said
    with pytest.raises(sacre.CannotScore):
        Bleu("flores200").statistics(rows(0))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "flores200sacrebleuspm").write_bytes(b"model")
    assert lacking("flores200") == ""


def test_another_dictionary_than_sacrebleus_is_said_and_nothing_else_fails(monkeypatch):
    def refused():
        raise AssertionError("Please make sure to use the IPA dictionary for MeCab")

    monkeypatch.setattr(sacre, "find_spec", lambda name: object())
    monkeypatch.setattr("sacrebleu.metrics.bleu._get_tokenizer", lambda name: refused if name == "ja-mecab" else Plain)
    scores = tunelab.score(["一"], ["一"], metrics=["bleu:ja-mecab", "chrf"])
    assert scores["bleu:ja-mecab"].missing == (
        "sacrebleu's tokeniser ja-mecab cannot be made: Please make sure to use the IPA dictionary for MeCab"
    )
    assert scores["chrf"].value == pytest.approx(100)


def test_every_tokeniser_is_sacrebleus(monkeypatch):
    assert set(TOKENIZERS) < set(sacrebleu.BLEU.TOKENIZERS)
    asked = []
    monkeypatch.setattr(sacre, "lacking", lambda name: "")
    monkeypatch.setattr("sacrebleu.metrics.bleu._get_tokenizer", lambda name: asked.append(name) or Plain)
    for tokenizer in TOKENIZERS:
        Bleu(tokenizer).statistics(rows(0))
    assert asked == list(TOKENIZERS)


class Plain(SimpleNamespace):
    def __call__(self, text):
        return text

    def signature(self):
        return "13a"
