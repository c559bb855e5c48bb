"""The next token of each text from its scores: the likeliest, or a drawn one, and what may not come.

A drawn token is a function of the scores, the run's seed, the example and the position, and of nothing else: neither
of the batch nor of what was generated before an interruption.
"""
# B texts, V vocabulary

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tunelab.config.schema import Generation


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
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        self.settings, self.ends, self.first = settings, list(ends), list(first)
        self._narrow = []
        if settings.temperature:
            self._narrow.append(TemperatureLogitsWarper(settings.temperature))
            self._narrow += [TopKLogitsWarper(settings.top_k)] if settings.top_k else []
            self._narrow += [TopPLogitsWarper(settings.top_p)] if settings.top_p < 1 else []

    def __call__(self, scores_BV: Tensor, texts: Sequence[Text | None]) -> list[int]:
        """A token for each text; any for None. Changes the scores in place."""
        scores_BV = self.rule(scores_BV, [None if text is None else text.new for text in texts])
        if not self._narrow:
            return scores_BV.argmax(dim=-1).tolist()
        for narrow in self._narrow:
            scores_BV = narrow(None, scores_BV)
        return draw(scores_BV, [0.0 if text is None else text.uniforms[len(text.new)] for text in texts])

    def rule(self, scores_BV: Tensor, new: Sequence[list[int] | None]) -> Tensor:
        """Rule out, in place, what may not follow each row's new tokens."""
        least, size = self.settings.min_new_tokens + len(self.first), self.settings.no_repeat_ngram
        early = [row for row, tokens in enumerate(new) if tokens is not None and len(tokens) < least]
        if early:
            scores_BV[np.ix_(early, self.ends)] = -torch.inf
        if size:
            for row, tokens in enumerate(new):
                scores_BV[row, completing(tokens or [], size)] = -torch.inf
        for row, tokens in enumerate(new if self.first else ()):
            if tokens is not None and len(tokens) < len(self.first):
                wanted = self.first[len(tokens)]
                scores_BV[row, :wanted] = scores_BV[row, wanted + 1 :] = -torch.inf
        return scores_BV


def draw(scores_BV: Tensor, uniforms: Sequence[float]) -> list[int]:
    """The token at which the cumulated probability passes the row's number of [0, 1)."""
    passed_BV = torch.softmax(scores_BV.double(), dim=-1).cumsum(dim=-1)
    wanted_B = torch.tensor(uniforms, dtype=torch.float64, device=scores_BV.device) * passed_BV[:, -1]
    return (
        torch.searchsorted(passed_BV, wanted_B[:, None], right=True).clamp(max=scores_BV.shape[-1] - 1)[:, 0].tolist()
    )


def completing(new: list[int], size: int) -> list[int]:
    """Tokens that would make an n-gram of this size come twice in the generated text. transformers' own rule counts a
    causal model's prompt too, and so forbids it to copy from there; microsoft/LoRA and fairseq count as here."""
    if len(new) < size:
        return []
    tail = new[len(new) - size + 1 :]
    return [new[at + size - 1] for at in range(len(new) - size + 1) if new[at : at + size - 1] == tail]
