"""Counted by hand: what a tokeniser throws away, and text without spaces that it leaves unsplit."""

import pytest

import tunelab
from tunelab.evaluation.unread import percent, remark, unread
from tunelab.metrics.bertscore import BertScore
from tunelab.metrics.meteor import Meteor
from tunelab.study.planning.plan import metric_of


def test_letters_in_no_token_are_thrown_away_marks_too():
    found = unread(["नमस्ते ab"], lambda text: ["ab"])  # 4 letters and 2 marks, beside 2 letters
    assert (found.thrown_away, found.thrown_away_script) == (pytest.approx(6 / 8), "Devanagari")
    assert (found.unsplit, found.unsplit_script) == (0, "")


def test_a_mark_apart_from_its_letter_is_read():
    assert unread(["e\u0301te\u0301"], list).thrown_away == 0


def test_letters_that_share_a_token_are_unsplit_where_no_spaces_are_written():
    found = unread(["我们 去 abc Москва"], str.split)
    assert (found.unsplit, found.unsplit_script) == (pytest.approx(2 / 12), "Han")
    assert found.thrown_away == 0


def test_ascii_references_count_among_the_letters():
    assert unread(["é" * 2, "a" * 8], lambda text: []).thrown_away == pytest.approx(2 / 10)


@pytest.mark.parametrize(("letters", "said"), [(99, False), (98, True)])
def test_one_percent_is_not_said_and_more_is(letters, said):
    text = "a" * letters + " " + "я" * (100 - letters)
    given = remark([text], lambda text: ["a" * letters], words="x", instead=lambda script: script)
    line = "its tokeniser throws away 2.0 % of the references' letters (Cyrillic): a word is x; use Cyrillic"
    assert given == (line if said else "")


def test_digits_of_no_script_are_named_without_one():
    assert (
        metric_of("rouge_l")
        .unread(["m² ½"])
        .startswith("its tokeniser throws away 66.7 % of the references' letters: ")
    )


def test_shares_are_not_rounded_to_all_or_nothing():
    assert [percent(share) for share in (1, 0.99999, 0.5)] == ["100 %", "99.9 %", "50.0 %"]


ENGLISH = "The Eagle is cheap."
TEXTS = {
    "zh": "今天天气很好，我们去公园散步。",
    "ja": "今日は天気がいいので公園を散歩します。",
    "ko": "오늘은 날씨가 좋아서 공원을 산책합니다.",
    "hi": "आज मौसम बहुत अच्छा है।",
    "ru": "Сегодня хорошая погода.",
    "ar": "الطقس جميل اليوم.",
    "th": "วันนี้อากาศดีมาก",
}
SPACELESS = {"zh", "ja", "th"}
UNSPLIT = ("bleu", "bleu:intl", "bleu:e2e", "bleu:e2e-python", "bleu4_sentence", "nist", "cider", "rouge_l:coco", "ter",
           "squad_f1")  # fmt: skip
THROWN_AWAY = ("rouge_1", "rouge_2", "rouge_l", "rouge_1:stem", "rouge_l:stem")
READ = ("chrf", "exact_match", "accuracy", "squad_em", "bleu:char", "rouge_1:unicode", "rouge_2:unicode",
        "rouge_l:unicode", "bleu:ja-mecab", "bleu:ko-mecab", "bleu:flores200")  # fmt: skip


@pytest.mark.parametrize("language", TEXTS)
def test_every_metric_says_what_it_does_not_read(language):
    def said(name):
        return metric_of(name).unread([TEXTS[language]])

    for name in THROWN_AWAY:
        assert said(name).startswith("its tokeniser throws away 100 % of the references' letters ("), name
        assert said(name).endswith(f"use {name.removesuffix(':stem')}:unicode")
    for name in UNSPLIT:
        assert said(name).startswith("its tokeniser finds no words in 100 %") == (language in SPACELESS), name
        assert bool(said(name)) == (language in SPACELESS), name
    for metric in (Meteor(), BertScore()):
        assert "English, and 100 % of the references' letters are of other scripts" in metric.unread([TEXTS[language]])
    assert [name for name in READ if said(name)] == []
    assert bool(said("bleu:zh")) == (language in {"ja", "th"})
    assert bool(said("ter:asian")) == (language in {"ja", "th"})
    assert [name for name in (*THROWN_AWAY, *UNSPLIT, *READ, "meteor") if metric_of(name).unread([ENGLISH])] == []


@pytest.mark.parametrize(
    ("language", "name", "way_out"),
    [
        ("zh", "bleu", "use bleu:zh"),
        ("zh", "ter", "use ter:asian"),
        ("zh", "squad_f1", "use rouge_1:unicode"),
        ("ja", "bleu", "use bleu:ja-mecab or bleu:char"),
        ("ja", "bleu:zh", "use bleu:ja-mecab or bleu:char"),
        ("th", "bleu4_sentence", "use bleu4_sentence:flores200 or bleu4_sentence:char"),
    ],
)
def test_the_way_out_is_of_the_script(language, name, way_out):
    assert metric_of(name).unread([TEXTS[language]]).endswith(way_out)


def test_a_score_carries_the_note_and_the_way_out_needs_none():
    scores = tunelab.score([TEXTS["zh"]], [TEXTS["zh"]], metrics=["rouge_l", "rouge_l:unicode", "bleu", "bleu:zh"])
    assert {name: score.value for name, score in scores.items()} == {
        "rouge_l": 0.0, "rouge_l:unicode": 1.0, "bleu": 0.0, "bleu:zh": pytest.approx(100),
    }  # fmt: skip
    assert [name for name, score in scores.items() if score.note] == ["rouge_l", "bleu"]
