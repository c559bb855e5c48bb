"""Scripts of texts, those that put no space between words, and words of any script.

A word is a run of letters, their marks and digits, in lower case and composed (NFC). In a script without spaces a
letter with its marks is a word: Han, kana and bopomofo, and every letter of Unicode's line-breaking class SA (Thai,
Lao, Khmer, Burmese ...), whose words only a dictionary finds (UAX #14). So Han is split by sacrebleu's `zh` and by
BERT; here the Unicode property decides instead of a table of ranges. Joiners (U+200C, U+200D) stay inside a word, as in
UAX #29. Of ASCII text the words are those of rouge-score.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import regex

from tunelab.data.examples.twins import SPACELESS

WORD = regex.compile(
    rf"{SPACELESS}\p{{M}}*|[[\p{{L}}\p{{N}}]--{SPACELESS}][[\p{{L}}\p{{M}}\p{{N}}\u200c\u200d]--{SPACELESS}]*", regex.V1
)
SPACELESS_LETTER = regex.compile(rf"{SPACELESS}\p{{M}}*", regex.V1)
"""With its marks."""
LETTER = regex.compile(r"[\p{L}\p{M}\p{N}]")

NAMES = (
    "Latin", "Han", "Cyrillic", "Arabic", "Devanagari", "Hangul", "Hiragana", "Katakana", "Thai", "Greek", "Hebrew",
    "Bengali", "Tamil", "Telugu", "Kannada", "Malayalam", "Gujarati", "Gurmukhi", "Oriya", "Sinhala", "Myanmar",
    "Khmer", "Lao", "Tibetan", "Georgian", "Armenian", "Ethiopic", "Mongolian",
)  # fmt: skip
_SCRIPTS = [(name, regex.compile(rf"\p{{Script={name}}}")) for name in NAMES]
OTHER = "another script"
JAPANESE = "Japanese"
KANA = ("Hiragana", "Katakana")
SOME_KANA = 0.1
"""Of kana and Han together: less are quotations in Chinese."""


def words(text: str) -> list[str]:
    """As the head of this file says."""
    return WORD.findall(unicodedata.normalize("NFC", text.lower()))


def letters(texts: Iterable[str]) -> Counter[str]:
    """Letters, marks and digits of the texts in lower case, composed."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(text.lower() if text.isascii() else unicodedata.normalize("NFC", text.lower()))
    return Counter({character: count for character, count in found.items() if LETTER.match(character)})


def scripts(found: Counter[str]) -> Counter[str]:
    """Script -> how many of the letters are of it. What several scripts share (some marks, 0 to 9) is of none."""
    counts: Counter[str] = Counter()
    for letter, count in found.items():
        if (name := _script(letter)) is not None:
            counts[name] += count
    return counts


def writing(found: Counter[str]) -> str:
    """The script that most of the letters are of; Han beside kana is 'Japanese'. Empty: no letter has one."""
    counts = scripts(found)
    kana = sum(counts[name] for name in KANA)
    if kana and kana >= SOME_KANA * (kana + counts["Han"]):
        counts = Counter({**counts, "Han": 0, "Hiragana": 0, "Katakana": 0, JAPANESE: kana + counts["Han"]})
    return max(counts, key=lambda name: counts[name], default="")


@lru_cache(maxsize=2**14)
def _script(letter: str) -> str | None:
    if regex.match(r"[\p{Script=Common}\p{Script=Inherited}]", letter):
        return None
    return next((name for name, pattern in _SCRIPTS if pattern.match(letter)), OTHER)
