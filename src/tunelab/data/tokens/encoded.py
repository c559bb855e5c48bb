"""An example as token ids before anything is cut: prompts, targets, start and end tokens.

Decoder-only: the tokenizer's own start tokens + prompt + target + end. Prompt and target are tokenised apart, so that
the ids before a target are those that generation is given. Encoder-decoder: the prompt as the tokenizer itself closes
it is the source; target + end is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tunelab.errors import DataError


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that every example needs; conversations need its chat template too."""

    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]: ...


class Source(NamedTuple):
    """What an encoder reads."""

    ids: list[int]
    closing: list[int]
    """The tokens at the end that a cut leaves in place."""


class Encoded(NamedTuple):
    """One example, whole."""

    start: list[int]
    """Tokens at the beginning that are never learned and never cut."""
    body: np.ndarray
    """int32, shape T."""
    supervised: np.ndarray
    """bool, shape T."""
    last: int
    """Where in `body` the last target begins: what stands before it is given when the model generates."""
    source: Source | None = None


class Edges(NamedTuple):
    """What the tokenizer puts around a text by itself."""

    start: list[int]
    end: list[int]


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Ids without any token that the tokenizer adds by itself."""
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []


def edges(tokenizer: Tokenizer) -> Edges:
    """LLaMA's puts a start token in front, T5's an end token behind."""
    plain = tokenizer(["a"], add_special_tokens=False)["input_ids"][0]
    whole = tokenizer(["a"], add_special_tokens=True)["input_ids"][0]
    for offset in range(len(whole) - len(plain) + 1):
        if whole[offset : offset + len(plain)] == plain:
            return Edges(list(whole[:offset]), list(whole[offset + len(plain) :]))
    return Edges([], [])


def end_token(tokenizer: Tokenizer) -> int:
    """Raises DataError where there is none."""
    if tokenizer.eos_token_id is None:
        raise DataError("The tokenizer has no end-of-text token, so the model could not learn to stop; set eos_token")
    return tokenizer.eos_token_id


def encode_joined(prompts: Sequence[str], targets: Sequence[str], tokenizer: Tokenizer) -> list[Encoded]:
    """For a decoder-only model: prompt, target and end in one row."""
    start, end = edges(tokenizer).start, end_token(tokenizer)
    encoded = []
    for prompt, target in zip(encode_texts(prompts, tokenizer), encode_texts(targets, tokenizer), strict=True):
        body = np.array([*prompt, *target, end], dtype=np.int32)
        encoded.append(Encoded(start, body, np.arange(len(body)) >= len(prompt), len(prompt)))
    return encoded


def encode_pairs(prompts: Sequence[str], targets: Sequence[str], tokenizer: Tokenizer) -> list[Encoded]:
    """For an encoder-decoder: prompt as the source; target and end are learned."""
    closing, end = edges(tokenizer).end, end_token(tokenizer)
    sources = tokenizer(list(prompts), add_special_tokens=True)["input_ids"] if prompts else []
    encoded = []
    for source, target in zip(sources, encode_texts(targets, tokenizer), strict=True):
        body = np.array([*target, end], dtype=np.int32)
        encoded.append(Encoded([], body, np.ones(len(body), dtype=bool), 0, Source(list(source), closing)))
    return encoded
