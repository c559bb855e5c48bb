"""An example as token ids before anything is cut: prompts, targets, start and end tokens.

Decoder-only: the tokenizer's own start tokens + prompt + target + end. Prompt and target are tokenised apart, so that
the ids before a target are those that generation is given. Encoder-decoder: the prompt as the tokenizer itself closes
it is the source; the target as the tokenizer itself makes labels is learned (BART's begin with a start token, NLLB's
with the language), with an end where it writes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from tunelab.data.tokens.long_texts import LONG, ids_of_long
from tunelab.errors import DataError


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that every example needs; conversations need its chat template too."""

    eos_token_id: int | None

    def __call__(
        self, text: list[str] | None = None, *, text_target: list[str] | None = None, add_special_tokens: bool
    ) -> Mapping[str, list[list[int]]]:
        """`text` as input ids, or `text_target` as labels."""
        ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str: ...


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
    unused: tuple[str, ...] = ()
    """Fields of a conversation's messages that do not stand in it, one entry a message."""


class Edges(NamedTuple):
    """What the tokenizer puts around a text by itself."""

    start: list[int]
    end: list[int]


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, *, whole: bool = False) -> list[list[int]]:
    """Ids without any token that the tokenizer adds by itself; with them where `whole`."""
    found = encode_compactly(texts, tokenizer, whole=whole)
    return [ids if isinstance(ids, list) else list(ids) for ids in found]


def encode_compactly(texts: Sequence[str], tokenizer: Tokenizer, *, whole: bool = False) -> list[Sequence[int]]:
    """The same, with the ids of a text of megabytes in an array: in a list they take nine times as much memory."""
    if not texts:
        return []
    if not _is_its_backend(tokenizer):
        return [*tokenizer(list(texts), add_special_tokens=whole)["input_ids"]]
    if not whole and max(map(len, texts)) > LONG:
        return [_ids_of(text, tokenizer) for text in texts]
    (first,) = tokenizer([texts[0]], add_special_tokens=whole)["input_ids"]  # tells the backend how texts are read
    if len(texts) == 1:
        return [first]
    backend: Any = tokenizer
    found = [one.ids for one in backend.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=whole)]
    assert found[0] == first, "the backend reads otherwise than its tokenizer"
    return found


def _ids_of(text: str, tokenizer: Any) -> Sequence[int]:
    """Of one that may be megabytes long."""
    tokenizer(["a"], add_special_tokens=False)  # tells the backend how texts are read
    found = ids_of_long(text, tokenizer.backend_tokenizer) if len(text) > LONG else None
    return tokenizer([text], add_special_tokens=False)["input_ids"][0] if found is None else found


def _is_its_backend(tokenizer: Any) -> bool:
    """Whether the ids are those of its Rust backend, which gives them in three quarters of the time when it is not
    asked where in the text each token is."""
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    kind: Any = type(tokenizer)
    return (
        isinstance(tokenizer, PreTrainedTokenizerFast)
        and kind.__call__ is PreTrainedTokenizerBase.__call__
        and kind._encode_plus is PreTrainedTokenizerFast._encode_plus
        and not hasattr(kind, "_switch_to_input_mode")
        and hasattr(tokenizer.backend_tokenizer, "encode_batch_fast")
    )


def edges(tokenizer: Tokenizer) -> Edges:
    """LLaMA's puts a start token in front, T5's an end token behind."""
    return _edges(*(tokenizer(["a"], add_special_tokens=whole)["input_ids"][0] for whole in (False, True)))


def label_edges(tokenizer: Tokenizer) -> Edges:
    """What it puts around a target that an encoder-decoder learns."""
    return _edges(*(tokenizer(text_target=["a"], add_special_tokens=whole)["input_ids"][0] for whole in (False, True)))


def _edges(plain: list[int], whole: list[int]) -> Edges:
    for offset in range(len(whole) - len(plain) + 1):
        if whole[offset : offset + len(plain)] == plain:
            return Edges(list(whole[:offset]), list(whole[offset + len(plain) :]))
    return Edges([], [])


def end_token(tokenizer: Tokenizer) -> int:
    """Raises DataError where there is none."""
    if tokenizer.eos_token_id is None:
        raise DataError("The tokenizer has no end-of-text token, so the model could not learn to stop; set eos_token")
    return tokenizer.eos_token_id


def encode_joined(
    prompts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], tokenizer: Tokenizer
) -> list[Encoded]:
    """For a decoder-only model: prompt, target and end in one row. Both as ids without added tokens."""
    start, end = edges(tokenizer).start, end_token(tokenizer)
    encoded = []
    for prompt, target in zip(prompts, targets, strict=True):
        body = np.fromiter(chain(prompt, target, (end,)), np.int32, len(prompt) + len(target) + 1)
        encoded.append(Encoded(start, body, np.arange(len(body)) >= len(prompt), len(prompt)))
    return encoded


def encode_pairs(sources: Sequence[list[int]], labels: Sequence[list[int]], tokenizer: Tokenizer) -> list[Encoded]:
    """For an encoder-decoder: the labels are learned. Both as ids with what the tokenizer itself adds."""
    closing, end = edges(tokenizer).end, end_token(tokenizer)
    behind = [] if end in label_edges(tokenizer).end else [end]
    encoded = []
    for source, target in zip(sources, labels, strict=True):
        body = np.array([*target, *behind], dtype=np.int32)
        encoded.append(Encoded([], body, np.ones(len(body), dtype=bool), 0, Source(list(source), closing)))
    return encoded
