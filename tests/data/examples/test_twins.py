"""One key for texts that count as the same, and the words of a key."""

import sys
import unicodedata

import pytest

from tunelab.data.examples.twins import twin_key, words

TWINS = {
    "case": ("Where IS it?", "where is it?"),
    "white space": ("where\n\tis\u00a0 it? ", " where is it?"),
    "composed and decomposed": ("Caf\u00e9", "cafe\u0301"),
    "full width": ("ＡＢＣ　１２", "abc 12"),
    "half width": ("ｶﾞｽ", "ガス"),
    "sharp s and its capital": ("STRASSE", "straße"),
    "Hangul and its letters": ("한국", unicodedata.normalize("NFD", "한국")),
}
APART = [("x²", "x2"), ("a b", "ab"), ("it?", "it"), ("e", "é"), ("①", "1"), ("", "a")]


@pytest.mark.parametrize("kind", TWINS)
def test_twins_have_one_key(kind):
    one, other = TWINS[kind]
    assert one != other and twin_key(one) == twin_key(other)


@pytest.mark.parametrize("pair", APART)
def test_what_means_something_else_has_another_key(pair):
    assert twin_key(pair[0]) != twin_key(pair[1])


def test_a_key_is_its_own_key():
    for code in range(0, sys.maxunicode, 7):
        key = twin_key(f"{chr(code)} A")
        assert twin_key(key) == key, hex(code)


def test_white_space_alone_is_nothing():
    assert twin_key(" \n\u3000") == ""


WORDS = {
    "it's 3.5 x² café.": ["it's", "3.5", "x²", "café."],
    "我用gpt-2, 好吗。": ["我", "用", "gpt-2,", "好", "吗", "。"],
    "これはペン": ["こ", "れ", "は", "ペ", "ン"],
    "ง่าย": ["ง่", "า", "ย"],
    "한국어 문장": ["한", "국", "어", "문", "장"],
    "བོད་སྐད།": ["བོད་", "སྐད།"],
    "": [],
}


@pytest.mark.parametrize("key", WORDS)
def test_words_stand_between_spaces_and_are_letters_where_there_are_none(key):
    assert words(key) == WORDS[key]


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_a_key_made_in_pieces_is_that_of_the_whole(piece, monkeypatch):
    texts = [
        "",
        "   ",
        "A  b\tc\n\nd ",
        "no",
        " x" * 20,
        "a\x1cb\x85c\u2003d\u3000e",
        "long-word " * 3,
        "Ä  ß\u00a0é  ",
    ]
    whole = [twin_key(text) for text in texts]
    monkeypatch.setattr("tunelab.data.examples.twins.PIECE", piece)
    assert [twin_key(text) for text in texts] == whole
