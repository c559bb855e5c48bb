"""The name that somebody probably meant: for messages about unknown keys and names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(word: str, words: Iterable[str]) -> str | None:
    """The member of `words` nearest in spelling, or None. Case, '-' and '_' do not count."""
    folded = {_fold(candidate): candidate for candidate in words}
    matches = get_close_matches(_fold(word), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence to append, with a space before it: " Did you mean 'lora'?"; empty when nothing is near."""
    match = near(word, words)
    return f" Did you mean '{match}'?" if match else ""


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_").replace(" ", "_")
