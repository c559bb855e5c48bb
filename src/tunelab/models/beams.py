"""Beam search over the rows of decoding.py: the texts of transformers' `generate` on each prompt alone.

Beams are rows: a prompt goes through the model once, then its row stands as often as there are beams. A beam that is
gone on with keeps its row; only where it is gone on with twice, another one's row becomes its copy. Knows no framework.
"""
# B rows, G prompts, K candidates of a prompt, V vocabulary

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunelab.config.schema import Generation
from tunelab.models.choosing import Chooser, Text, best, normalisers
from tunelab.models.decoding import Rows, joining

if TYPE_CHECKING:
    from tunelab.models.choosing import Scores

NEVER = np.float32(-1e9)
"""Added to the score of what must not win; transformers' number, because what is left of the score decides ties."""


def search(
    rows: Rows,
    texts: Sequence[Text],
    choose: Chooser,
    *,
    max_tokens: int,
    told: Callable[[list[Text], int], None],
) -> None:
    """As `decode`, by beam search; `told` only when texts are finished."""
    settings, waiting = choose.settings, deque(texts)
    searches: dict[int, _Search] = {}

    def take(scores_BV: Scores, asked: Sequence[Text | None]) -> list[int]:
        sources = _advance(scores_BV, asked, searches, choose)
        finished = [searches.pop(number).result() for number in list(searches) if searches[number].done]
        if finished:
            told(finished, sum(len(text.new) for text in finished))
        rows.leave(finished)
        return sources

    while waiting or searches:
        joined = joining(rows, waiting, settings, max_tokens=max_tokens)
        if joined:
            scores_NV = rows.join(joined)
            started = {text.number: _Search(text, settings, choose.ends) for text in joined}
            searches |= started
            _spread(rows, started, settings.beams)
            take(scores_NV, [beam for one in started.values() for beam in one.beams])
        else:
            rows.tidy(final=not waiting)
            sources = take(rows.step(), rows.texts)
            if any(source != row and rows.texts[row] is not None for row, source in enumerate(sources)):
                rows.reorder([row if rows.texts[row] is None else source for row, source in enumerate(sources)])


def _spread(rows: Rows, started: dict[int, _Search], beams: int) -> None:
    """Each row of a text that joined is repeated once a beam, beside its copies; free places go."""
    kept: list[int] = []
    standing: list[Text | None] = []
    for row, text in enumerate(rows.texts):
        if text is None:
            continue
        joined = text.number in started
        kept += [row] * (beams if joined else 1)
        standing += started[text.number].beams if joined else [text]
    rows.select(kept)
    rows.texts = standing


def _advance(
    scores_BV: Scores, asked: Sequence[Text | None], searches: dict[int, _Search], choose: Chooser
) -> list[int]:
    """A token more for every beam; gives for each row the row that it goes on from. Where texts have just joined, a row
    of scores stands for all beams of one."""
    beams, vocabulary = choose.settings.beams, scores_BV.shape[-1]
    found = [None if text is None else searches[text.number] for text in asked[::beams]]
    blank = np.zeros(beams, dtype=np.float32)
    running_B = np.concatenate([blank if one is None else one.running for one in found])
    less = normalisers(scores_BV)
    of_rows = asked[:: len(asked) // len(scores_BV)]
    scores_BV = choose.rule(scores_BV, [None if text is None else text.new for text in of_rows])
    enough = beams * min(vocabulary, max(2, 1 + len(choose.ends)))
    """So many that `beams` of them go on even where each beam's likeliest tokens are ends."""
    scores_GK, places_GK = best(scores_BV, less, running_B, beams=beams, count=enough)
    sources = list(range(len(asked)))
    for number, one in enumerate(found):
        if one is not None:
            places_K = places_GK[number]
            from_beams = one.advance(scores_GK[number], places_K // vocabulary, places_K % vocabulary)
            sources[number * beams : (number + 1) * beams] = [number * beams + beam for beam in from_beams]
    return sources


class _Search:
    """One prompt's beams, and its best finished texts."""

    def __init__(self, text: Text, settings: Generation, ends: Sequence[int]) -> None:
        self.text, self.settings, self.ends = text, settings, np.asarray(ends, dtype=np.int64)
        num = settings.beams
        self.beams = [Text(text.number, text.prompt, settings=settings, seed=(0, 0)) for _ in range(num)]
        """In the order of their rows."""
        self.running = np.full(num, NEVER)
        """Each beam's log-probability. All begin alike, so only the first one counts at first."""
        self.running[0] = 0
        self.length = 0
        self.finished: list[list[int]] = [[]] * num
        """The best first."""
        self.scores, self.is_text = np.full(num, NEVER), np.zeros(num, dtype=bool)
        """Of `finished`; False: still a free place."""
        self.done = False

    def result(self) -> Text:
        new = self.finished[0]
        self.text.new[:] = new[:-1] if new and new[-1] in self.ends else new
        return self.text

    def advance(self, scores_K: np.ndarray, beams_K: np.ndarray, tokens_K: np.ndarray) -> list[int]:
        """The likeliest continuations, best first. For each beam the one that it goes on from."""
        self.length += 1
        ended_K = np.isin(tokens_K, self.ends) | (self.length == self.settings.max_new_tokens)
        self._finish(scores_K, beams_K, tokens_K, ended_K)
        open_K = scores_K + ended_K * NEVER
        kept = _order(open_K)[: len(self.beams)]
        self.done = bool(ended_K.all()) or not self._improves(np.float32(open_K[kept[0]]))
        return self._continue(open_K[kept], beams_K[kept].tolist(), tokens_K[kept].tolist())

    def _finish(self, scores_K: np.ndarray, beams_K: np.ndarray, tokens_K: np.ndarray, ended_K: np.ndarray) -> None:
        """Only the likeliest `beams` continuations may finish: the others are there for enough to go on."""
        num = len(self.beams)
        counts_K = ended_K & (np.arange(len(ended_K)) < num)
        if not counts_K.any():
            return
        texts = [
            [*self.beams[beam].new, token] for beam, token in zip(beams_K.tolist(), tokens_K.tolist(), strict=True)
        ]
        scores_K = scores_K / np.float32(self.length**self.settings.length_penalty) + ~counts_K * NEVER
        merged = np.concatenate([self.scores, scores_K])
        kept = _order(merged)[:num]
        self.finished = [(self.finished + texts)[place] for place in kept]
        self.scores, self.is_text = merged[kept], np.concatenate([self.is_text, counts_K])[kept]

    def _improves(self, running: np.float32) -> bool:
        """Whether a text that is still open may get among the finished ones; with early_stopping true: or is needed."""
        settings = self.settings
        if settings.early_stopping is True and self.is_text.all():
            return False
        longest = settings.early_stopping == "never" and settings.length_penalty > 0
        length = settings.max_new_tokens if longest else self.length
        hoped = running / np.float32(length**settings.length_penalty)
        return bool((hoped > np.where(self.is_text, self.scores.min(), NEVER)).any())

    def _continue(self, running: np.ndarray, sources: list[int], tokens: list[int]) -> list[int]:
        """A source keeps its row with the first that goes on from it; the others take the rows of those that end."""
        free = [beam for beam in range(len(self.beams)) if beam not in sources]
        taken: set[int] = set()
        before, came_from = [beam.new for beam in self.beams], [0] * len(sources)
        for score, source, token in zip(running, sources, tokens, strict=True):
            place = free.pop() if source in taken else source
            taken.add(source)
            self.beams[place].new = [*before[source], token]
            self.running[place], came_from[place] = score, source
        return came_from


def _order(scores: np.ndarray) -> np.ndarray:
    """Places from the highest to the lowest; of equals the earlier first."""
    return np.argsort(-scores, kind="stable")
