"""Examples to token rows: the one place where text becomes ids, for training, evaluation and generation.

Decoder-only: start token (if the model has one) + prompt + target + end; only the target and the end are supervised,
by position, never by token id, so that a model whose padding is its end token still learns to end.
Encoder-decoder: the prompt as the model's own tokeniser closes it is the source; target + end is supervised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tunelab.errors import DataError
from tunelab.records import Example, Record, TokenRow


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]: ...


class Counts(Record):
    """What tokenising did to one split; printed, and kept in data/<task>.json."""

    rows: int
    prompts_cut: int
    """Rows whose prompt lost its beginning (decoder-only) or its end (encoder-decoder) to max_length."""
    targets_cut: int
    """Rows whose target lost its end: they never learn to stop where the text stops."""
    tokens: int
    supervised_tokens: int
    shortest: int
    median: int
    longest: int
    """Tokens per row after cutting."""


class Tokenised(NamedTuple):
    rows: list[TokenRow]
    counts: Counts


def tokenise(examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, encoder_decoder: bool) -> Tokenised:
    """Token rows in the order of the examples, cut to `max_length`, with counts of what was cut.

    Raises:
        DataError: the tokenizer has no end token, every target is cut, or nothing is left to supervise.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise DataError("The tokenizer has no end-of-text token, so the model could not learn to stop; set eos_token")
    prompts = prompt_ids(examples, tokenizer, max_length=max_length, encoder_decoder=encoder_decoder)
    targets = _encode([example.target for example in examples], tokenizer)
    rows, prompts_cut, targets_cut = [], 0, 0
    for position, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        target = [*target, end]
        room = max_length if encoder_decoder else max_length - min(len(prompt.start), max_length - 1)
        targets_cut += len(target) > room
        target = target[:room]
        if encoder_decoder:
            rows.append(_pair_row(position, prompt.ids, target))
            prompts_cut += prompt.cut
        else:
            row, cut = _joined_row(position, prompt, target, max_length=max_length)
            rows.append(row)
            prompts_cut += cut
    if rows and targets_cut == len(rows):
        raise DataError(
            f"Every target is longer than batch.max_length ({max_length} tokens), so the end of a text would never be "
            "learned; raise batch.max_length"
        )
    return Tokenised(rows, _count(rows, prompts_cut=prompts_cut, targets_cut=targets_cut))


class Prompt(NamedTuple):
    start: list[int]
    """The model's start tokens, never cut."""
    body: list[int]
    cut: bool

    @property
    def ids(self) -> list[int]:
        return self.start + self.body


def prompt_ids(
    examples: Sequence[Example], tokenizer: Tokenizer, *, max_length: int, encoder_decoder: bool
) -> list[Prompt]:
    """The ids a model is given before it generates: exactly those it saw in training."""
    texts = [example.prompt for example in examples]
    if encoder_decoder:
        whole = tokenizer(texts, add_special_tokens=True)["input_ids"] if texts else []
        closing = _added_tokens(tokenizer)[1]
        return [_cut_source(ids, closing, max_length) for ids in whole]
    start = _added_tokens(tokenizer)[0]
    room = max_length - len(start)
    return [Prompt(start, ids[-room:], len(ids) > room) for ids in _encode(texts, tokenizer)]


def _cut_source(ids: list[int], closing: list[int], max_length: int) -> Prompt:
    if len(ids) <= max_length:
        return Prompt([], list(ids), False)
    return Prompt([], ids[: max_length - len(closing)] + closing, True)


def _encode(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def _added_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text by itself, end-of-text after it left to the caller."""
    plain = tokenizer(["a"], add_special_tokens=False)["input_ids"][0]
    whole = tokenizer(["a"], add_special_tokens=True)["input_ids"][0]
    for offset in range(len(whole) - len(plain) + 1):
        if whole[offset : offset + len(plain)] == plain:
            return list(whole[:offset]), list(whole[offset + len(plain) :])
    return [], []


def _pair_row(position: int, source: list[int], target: list[int]) -> TokenRow:
    return TokenRow(position, _ids(target), np.ones(len(target), dtype=bool), _ids(source))


def _joined_row(position: int, prompt: Prompt, target: list[int], *, max_length: int) -> tuple[TokenRow, bool]:
    room = max_length - len(prompt.start) - len(target)
    body = prompt.body[-room:] if room > 0 else []
    ids = _ids(prompt.start + body + target)
    supervised = np.zeros(len(ids), dtype=bool)
    supervised[len(ids) - len(target) :] = True
    supervised[0] = False  # nothing predicts the first token of a decoder-only row
    return TokenRow(position, ids, supervised), prompt.cut or len(body) < len(prompt.body)


def _ids(values: list[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)


def _count(rows: list[TokenRow], *, prompts_cut: int, targets_cut: int) -> Counts:
    lengths = np.array([row.num_tokens for row in rows], dtype=np.int64)
    supervised = sum(row.num_supervised for row in rows)
    if rows and not supervised:
        raise DataError("No token would be supervised: every target is empty after tokenising and cutting")
    return Counts(
        rows=len(rows),
        prompts_cut=int(prompts_cut),
        targets_cut=int(targets_cut),
        tokens=int(lengths.sum()),
        supervised_tokens=supervised,
        shortest=int(lengths.min()) if len(lengths) else 0,
        median=int(np.median(lengths)) if len(lengths) else 0,
        longest=int(lengths.max(initial=0)),
    )
