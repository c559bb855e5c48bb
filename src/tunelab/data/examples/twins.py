"""Texts that count as the same: one key for drawing validation and for finding overlap. And the words of a text.

Twins differ at most in case, in the amount of white space, in composed or decomposed characters (canonical
equivalence: Unicode D145), and in full or half width (U+FF01 to U+FFEE). Other compatibility forms stay apart: x² is
not x2. In a script without spaces between words every letter with its marks is a word, since nothing else tells where
one ends; so it is in Korean, whose spaces writers set differently. A Tibetan syllable ends at a tsheg.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from unicodedata import normalize

import regex

SPACELESS = r"[[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{Line_Break=SA}]&&[\p{L}\p{Nl}]]"
"""Letters of scripts without spaces: Han, kana and bopomofo, and Unicode's line-breaking class SA (Thai, Khmer ...)."""
_ONE_BY_ONE = rf"[{SPACELESS}\p{{Hangul}}]"
_TSHEG = "\u0f0b\u0f0c"
_WITHOUT_SPACES = regex.compile(rf"[{_ONE_BY_ONE}{_TSHEG}]", regex.V1)
_WORD = regex.compile(rf"{_ONE_BY_ONE}\p{{M}}*|[^\s{_TSHEG}--{_ONE_BY_ONE}]+[{_TSHEG}]*|[{_TSHEG}]+", regex.V1)
PIECE = 1 << 20
"""Characters."""
_BLANK = re.compile(r"\s")  # of `re`, whose white space is that of str.split
_BETWEEN_SPACES = regex.compile(r"[^ ]+")
_WIDTHS = {code: normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFEF)}


def twin_key(text: str) -> str:
    """Equal for twins, and its own key. Empty: nothing but white space."""
    if not text.isascii():
        text = normalize("NFC", normalize("NFD", text.translate(_WIDTHS)).casefold())
        return _with_single_spaces(text)
    return _with_single_spaces(text.lower())


def _with_single_spaces(text: str) -> str:
    """A piece at a time: a list of the words of a text of megabytes is a dozen times as large."""
    if len(text) <= PIECE:
        return " ".join(text.split())
    pieces, start = [], 0
    while start < len(text):
        blank = _BLANK.search(text, start + PIECE)
        end = blank.start() if blank else len(text)
        pieces.append(" ".join(text[start:end].split()))
        start = end
    return " ".join(piece for piece in pieces if piece)


def words(key: str) -> list[str]:
    """What stands between the spaces of a key; of scripts without them, and of Korean, single letters."""
    if key.isascii() or not _WITHOUT_SPACES.search(key):
        return key.split()
    return _WORD.findall(key)


class EachWord(Collection[str]):
    """The same words, made when they are asked for: a list of those of a text of megabytes is nine times as large."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys
        self._count = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, word: object) -> bool:
        return any(word == each for each in self)

    def __iter__(self) -> Iterator[str]:
        for key in self._keys:
            if not key.isascii() and _WITHOUT_SPACES.search(key):
                yield from (found.group() for found in _WORD.finditer(key))
            else:
                yield from (found.group() for found in _BETWEEN_SPACES.finditer(key))
