"""What a tokeniser does not read of references: letters that it throws away, and text without spaces, left unsplit.

Both are counted over all references, as shares of their letters, marks and digits:

- thrown away: letters outside ASCII that stand in no token, as rouge-score's words are runs of a-z and 0-9;
- unsplit: letters of scripts without spaces that share a token with another one, as where words end at spaces.

An official metric computes what it computes; this says that the number is about less than the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tunelab.contracts import Metric
from tunelab.evaluation.scripts import SPACELESS_LETTER, letters, scripts, writing

BETWEEN_SPACES = "what stands between spaces"
LOUD = 0.01
"""A smaller share is not said: a name, a foreign word."""


class Unread(NamedTuple):
    thrown_away: float
    thrown_away_script: str
    """That of most of those letters."""
    unsplit: float
    unsplit_script: str


def unread(references: Sequence[str], to_tokens: Callable[[str], Iterable[str]]) -> Unread:
    """`to_tokens` need not see ASCII text: nothing of that is counted but its letters."""
    others = [text for text in references if not text.isascii()]
    tokens = [list(to_tokens(text)) for text in others]
    there = letters(others)
    read = letters("".join(of_text) for of_text in tokens)  # joined, so that a mark finds its letter again
    lost = Counter({letter: count for letter, count in (there - read).items() if not letter.isascii()})
    unsplit: Counter[str] = Counter()
    spaceless = [of_text for text, of_text in zip(others, tokens, strict=True) if SPACELESS_LETTER.search(text)]
    for token in (token for of_text in spaceless for token in of_text if not token.isascii()):
        if len(together := SPACELESS_LETTER.findall(token)) > 1:
            unsplit.update("".join(together))
    total = there.total() + letters(text for text in references if text.isascii()).total()
    return Unread(lost.total() / max(total, 1), writing(lost), unsplit.total() / max(total, 1), writing(unsplit))


def unread_notes(metrics: Mapping[str, Metric], references: Sequence[str]) -> list[str]:
    """What metrics, by name, do not read of a task's references; a line each."""
    said = {name: metric.unread(references) for name, metric in metrics.items()}
    return [f"{name}: {note}" for name, note in said.items() if note]


def remark(
    references: Sequence[str], to_tokens: Callable[[str], Iterable[str]], *, words: str, instead: Callable[[str], str]
) -> str:
    """What a reader of the score must know, in one line; empty: nothing.

    Args:
        words: what a word is to the tokeniser.
        instead: the way out for a script.
    """
    if all(text.isascii() for text in references):
        return ""
    found = unread(references, to_tokens)
    if found.thrown_away > LOUD:
        of = _share(found.thrown_away, found.thrown_away_script)
        return f"its tokeniser throws away {of}: a word is {words}; use {instead(found.thrown_away_script)}"
    if found.unsplit > LOUD:
        of = _share(found.unsplit, found.unsplit_script)
        why = f"a word is {words}, and this script has no spaces between words"
        return f"its tokeniser finds no words in {of}: {why}; use {instead(found.unsplit_script)}"
    return ""


def foreign_remark(references: Sequence[str], *, made_for: str, instead: str) -> str:
    """For what was made for English: the share of letters that are not Latin, in one line; empty: next to none."""
    if all(text.isascii() for text in references):
        return ""
    found = letters(references)
    counts = scripts(found)
    share = 1 - counts["Latin"] / max(counts.total(), 1)
    if share <= LOUD:
        return ""
    foreign = Counter({letter: count for letter, count in found.items() if not scripts(Counter([letter]))["Latin"]})
    of = f"{percent(share)} of the references' letters are of other scripts ({writing(foreign)})"
    return f"{made_for}, and {of}; use {instead}"


def _share(share: float, script: str) -> str:
    """Superior figures and fractions are of no script."""
    return f"{percent(share)} of the references' letters" + (f" ({script})" if script else "")


def percent(share: float) -> str:
    """Never rounded to all or nothing."""
    shown = f"{100 * share:.1f}"
    return "100 %" if share == 1 else f"{'99.9' if shown == '100.0' else shown} %"
