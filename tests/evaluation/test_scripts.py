import random
import unicodedata

import pytest
from rouge_score.tokenize import tokenize

from tunelab.evaluation.scripts import letters, scripts, words, writing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("दिल्ली, भारत की राजधानी।", ["दिल्ली", "भारत", "की", "राजधानी"]),  # matras and virama stay with their letters
        ("Москва - столица!", ["москва", "столица"]),
        ("اللغةُ العربية،", ["اللغةُ", "العربية"]),
        ("서울은 수도이다.", ["서울은", "수도이다"]),
        ("我在北京，2024年。", ["我", "在", "北", "京", "2024", "年"]),
        ("𠀀〇々", ["𠀀", "〇", "々"]),  # beyond the basic plane, zero, the iteration mark
        ("コーヒーを飲む", ["コ", "ー", "ヒ", "ー", "を", "飲", "む"]),
        ("東京tower", ["東", "京", "tower"]),
        ("ที่นี่ ๒๕๖๗", ["ที่", "นี่", "๒๕๖๗"]),  # vowels above and tones are marks; a number is one word
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # the joiner is inside the word
        ("L'été, l'œuvre", ["l", "été", "l", "œuvre"]),
        ("١٢٣ ½ _", ["١٢٣", "½"]),
        ("", []),
    ],
)
def test_words_of_any_script(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("text", ["été", "가각", "हिन्दी क़"])
def test_composed_and_decomposed_text_has_the_same_words(text):
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


def test_words_of_ascii_are_those_of_rouge_score():
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(chr(draw.randrange(128)) for _ in range(60))
        assert words(text) == tokenize(text, None)


def test_letters_are_counted_by_script_without_case_punctuation_and_ascii_digits():
    found = letters(["Да, 12!", "да no"])
    assert found == {"д": 2, "а": 2, "1": 1, "2": 1, "n": 1, "o": 1}
    assert scripts(found) == {"Cyrillic": 4, "Latin": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我们去公园", "Han"),
        ("公園を散歩", "Japanese"),
        ("这家叫の的餐厅位于北京市中心附近", "Han"),  # one kana of 16 letters is a quotation
        ("パリ", "Japanese"),
        ("สวัสดี hi", "Thai"),
        ("12 ?!", ""),
        ("ᚠᚢᚦ", "another script"),
    ],
)
def test_writing_is_the_script_of_most_letters(text, expected):
    assert writing(letters([text])) == expected
