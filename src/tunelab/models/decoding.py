"""Greedy and sampled texts, a token a step for every row; a finished row leaves, and a waiting prompt takes its place.

Knows no framework: a back end's `Rows` hold the model and what it keeps of the tokens so far.
"""
# B rows, N joining rows, V vocabulary

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunelab.config.schema import Generation
from tunelab.models.choosing import Chooser, Text

if TYPE_CHECKING:
    from tunelab.models.choosing import Scores

JOIN_SHARE = 8
"""Prompts join when this part of the places is free, and so many: one pass for several, and passes of one size, since
each size of a product costs a CPU a kernel. As prompts get shorter the number of places grows by this part at least."""


class Rows(ABC):
    """Texts that go through a model together; None is a free place.

    Scores are a torch tensor or a numpy array of fp32, and whoever gets them may write into them.
    """

    refills: bool
    """Whether texts may join while others are in work; where not, they join when there is none."""
    pass_tokens: int | None = None
    """So many of prompts go through the model at a time, where they may join one after the other; None: any number."""
    places = 0
    """So many rows there may soon be: told before texts join."""

    def __init__(self) -> None:
        self.texts: list[Text | None] = []

    @property
    def live(self) -> list[Text]:
        return [text for text in self.texts if text is not None]

    @property
    def num_live(self) -> int:
        return len(self.live)

    def leave(self, finished: Sequence[Text]) -> None:
        gone = {text.number for text in finished}
        self.texts = [None if text is None or text.number in gone else text for text in self.texts]

    def tidy(self, *, final: bool) -> None:
        """Give the places of finished rows back where nobody will take them and they are a quarter of all."""
        kept = [row for row, text in enumerate(self.texts) if text is not None]
        if (final or not self.refills) and 4 * len(kept) <= 3 * len(self.texts):
            self.select(kept)

    def select(self, rows: list[int]) -> None:
        """Keep these rows, in this order; one may stand several times."""
        self.texts = [self.texts[row] for row in rows]
        self.gather(rows)

    def reorder(self, rows: list[int]) -> None:
        """Each place goes on from what was at the place `rows` says, of the same prompt; the texts stay."""
        self.gather(rows)

    @abstractmethod
    def join(self, texts: list[Text]) -> Scores:
        """Take them in: `texts` are these where there were none in work. Scores of their first tokens, shape (N, V)."""

    @abstractmethod
    def step(self) -> Scores:
        """The last token of each text goes through the model; scores of the next ones, shape (B, V)."""

    @abstractmethod
    def gather(self, rows: list[int]) -> None:
        """What is kept of the tokens so far becomes that of these rows, in this order; one may stand several times."""


def decode(
    rows: Rows,
    texts: Sequence[Text],
    choose: Chooser,
    *,
    max_tokens: int,
    told: Callable[[list[Text], int], None],
) -> None:
    """Write every text's `new`, its end token left out.

    Args:
        texts: the longest prompt first.
        max_tokens: padded tokens held at a time, prompts and the longest possible texts counted.
        told: after each step the texts that it finished, and how many tokens came.
    """
    new = choose.settings.max_new_tokens
    waiting = deque(texts)

    def take(scores_BV: Scores, asked: Sequence[Text | None]) -> None:
        tokens = choose(scores_BV, asked)
        finished = []
        for text, token in zip(asked, tokens, strict=True):
            if text is None:
                continue
            if token not in choose.ends:
                text.new.append(token)
            if token in choose.ends or len(text.new) == new:
                finished.append(text)
        told(finished, sum(text is not None for text in asked))
        rows.leave(finished)

    while waiting or rows.num_live:
        joined = joining(rows, waiting, choose.settings, max_tokens=max_tokens)
        if joined:
            take(rows.join(joined), joined)
        elif rows.num_live:
            rows.tidy(final=not waiting)
            take(rows.step(), rows.texts)


def joining(rows: Rows, waiting: deque[Text], settings: Generation, *, max_tokens: int) -> list[Text]:
    """Taken from the waiting ones: as many as there is room for, where it is enough to be worth a pass."""
    if not waiting or (rows.num_live and not rows.refills):
        return []
    longest = max(len(text.prompt) for text in (waiting[0], *rows.live)) + settings.max_new_tokens
    places, taken = max(1, max_tokens // (longest * settings.beams)), rows.num_live // settings.beams
    held = len(rows.texts) // settings.beams
    if taken and held < places < held + -(-held // JOIN_SHARE):
        places = held
    free, least = min(places - taken, len(waiting)), -(-places // JOIN_SHARE)
    if taken and free < min(len(waiting), least):
        return []
    if taken >= places // 2 and len(waiting) > least:
        free = least
    rows.places = settings.beams * min(places, taken + len(waiting))
    if rows.refills and rows.pass_tokens is not None:
        free = min(free, max(least, rows.pass_tokens // max(1, len(waiting[0].prompt))))
    return [waiting.popleft() for _ in range(free)]
