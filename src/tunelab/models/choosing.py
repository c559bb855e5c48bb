"""The next token of each text from its scores: the likeliest, or a drawn one, and what may not come.

A drawn token is a function of the scores, the run's seed, the example and the position, and of nothing else: neither
of the batch nor of what was generated before an interruption. Scores are torch tensors, which stay on their device, or
numpy arrays; the tokens are the same.
"""
# B texts, V vocabulary

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from tunelab.config.schema import Generation
from tunelab.models import numpy_scores

if TYPE_CHECKING:
    from torch import Tensor

    Scores = Tensor | np.ndarray

Same = TypeVar("Same", bound="Tensor | np.ndarray")


class Text:
    """One text while it is generated."""

    def __init__(self, number: int, prompt: np.ndarray, *, settings: Generation, seed: tuple[int, int]) -> None:
        self.number, self.prompt = number, prompt
        self.new: list[int] = []
        self.uniforms = np.empty(0)
        """One number of [0, 1) for each token to draw."""
        if settings.temperature:
            self.uniforms = np.random.default_rng(seed).random(settings.max_new_tokens)

    def __len__(self) -> int:
        """Tokens of prompt and text."""
        return len(self.prompt) + len(self.new)


class Chooser:
    """Scores are changed in the order of transformers: what may not come, temperature, top_k, top_p."""

    def __init__(self, settings: Generation, ends: Sequence[int], first: Sequence[int] = ()) -> None:
        """`first`: the tokens with which every text begins (BART's start token, NLLB's language)."""
        self.settings, self.ends, self.first = settings, list(ends), list(first)

    def __call__(self, scores_BV: Scores, texts: Sequence[Text | None]) -> list[int]:
        """A token for each text; any for None. Changes the scores in place."""
        scores_BV = self.rule(scores_BV, [None if text is None else text.new for text in texts])
        if not self.settings.temperature:
            return scores_BV.argmax(-1).tolist()
        uniforms = [0.0 if text is None else text.uniforms[len(text.new)] for text in texts]
        return draw(narrow(scores_BV, self.settings), uniforms)

    def rule(self, scores_BV: Same, new: Sequence[list[int] | None]) -> Same:
        """Rule out, in place, what may not follow each row's new tokens."""
        least, size = self.settings.min_new_tokens + len(self.first), self.settings.no_repeat_ngram
        early = [row for row, tokens in enumerate(new) if tokens is not None and len(tokens) < least]
        if early:
            scores_BV[np.ix_(early, self.ends)] = -math.inf
        if size:
            for row, tokens in enumerate(new):
                scores_BV[row, completing(tokens or [], size)] = -math.inf
        for row, tokens in enumerate(new if self.first else ()):
            if tokens is not None and len(tokens) < len(self.first):
                wanted = self.first[len(tokens)]
                scores_BV[row, :wanted] = scores_BV[row, wanted + 1 :] = -math.inf
        return scores_BV


def narrow(scores_BV: Scores, settings: Generation) -> Scores:
    """Scores to draw from: temperature, and what top_k and top_p leave out is -inf."""
    return _arithmetic(scores_BV).narrow(scores_BV, settings)


def draw(scores_BV: Scores, uniforms: Sequence[float]) -> list[int]:
    """The token at which the cumulated probability passes the row's number of [0, 1)."""
    return _arithmetic(scores_BV).draw(scores_BV, uniforms)


class Normalisers(NamedTuple):
    """A token's log-probability is its score less these two of its row, in this order: shape (B,) each."""

    highest: Scores
    log_sum: Scores


def normalisers(scores_BV: Scores) -> Normalisers:
    """Of each row's tokens, in fp32. The scores stay as they are."""
    return Normalisers(*_arithmetic(scores_BV).normalisers(scores_BV))


def best(
    scores_BV: Scores, less: Normalisers, running: np.ndarray, *, beams: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The highest sums of a beam's score and a token's log-probability, best first, shape (prompts, count), and their
    places in the prompt's (beam, token). May write into the scores.

    Args:
        running: each beam's score. Where there are more of them than rows, each row stands for as many beams that
            follow each other.
    """
    return _arithmetic(scores_BV).best(scores_BV, less, running, beams=beams, count=count)


def _arithmetic(scores: Scores) -> Any:
    """The file that calculates with scores of this kind."""
    if isinstance(scores, np.ndarray):
        return numpy_scores
    from tunelab.models import torch_scores

    return torch_scores


def completing(new: list[int], size: int) -> list[int]:
    """Tokens that would make an n-gram of this size come twice in the generated text. transformers' own rule counts a
    causal model's prompt too, and so forbids it to copy from there; microsoft/LoRA and fairseq count as here."""
    if len(new) < size:
        return []
    tail = new[len(new) - size + 1 :]
    return [new[at + size - 1] for at in range(len(new) - size + 1) if new[at : at + size - 1] == tail]
