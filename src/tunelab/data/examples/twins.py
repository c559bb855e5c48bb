"""Texts that count as the same: one key for drawing validation and for finding overlap. And the words of a text.

Twins differ at most in case, in the amount of white space, in composed or decomposed characters (canonical
equivalence: Unicode D145), and in full or half width (U+FF01 to U+FFEE). Other compatibility forms stay apart: x² is
not x2. In a script without spaces between words every letter with its marks is a word, since nothing else tells where
one ends; so it is in Korean, whose spaces writers set differently. A Tibetan syllable ends at a tsheg.
"""

from __future__ import annotations

from unicodedata import normalize

import regex

SPACELESS = r"[[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{Line_Break=SA}]&&[\p{L}\p{Nl}]]"
"""Letters of scripts without spaces: Han, kana and bopomofo, and Unicode's line-breaking class SA (Thai, Khmer ...)."""
_ONE_BY_ONE = rf"[{SPACELESS}\p{{Hangul}}]"
_TSHEG = "\u0f0b\u0f0c"
_WITHOUT_SPACES = regex.compile(rf"[{_ONE_BY_ONE}{_TSHEG}]", regex.V1)
_WORD = regex.compile(rf"{_ONE_BY_ONE}\p{{M}}*|[^\s{_TSHEG}--{_ONE_BY_ONE}]+[{_TSHEG}]*|[{_TSHEG}]+", regex.V1)
_WIDTHS = {code: normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFEF)}


def twin_key(text: str) -> str:
    """Equal for twins, and its own key. Empty: nothing but white space."""
    if not text.isascii():
        text = normalize("NFC", normalize("NFD", text.translate(_WIDTHS)).casefold())
        return " ".join(text.split())
    return " ".join(text.lower().split())


def words(key: str) -> list[str]:
    """What stands between the spaces of a key; of scripts without them, and of Korean, single letters."""
    if key.isascii() or not _WITHOUT_SPACES.search(key):
        return key.split()
    return _WORD.findall(key)
