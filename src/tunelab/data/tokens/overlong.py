"""Rows longer than `batch.max_length`: which tokens stay."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from tunelab.data.tokens.encoded import Encoded, Source
from tunelab.records import TokenRow

Rule = Literal["truncate_prompt", "truncate"]


class Cut(NamedTuple):
    row: TokenRow
    prompt_cut: bool
    """Something before the last target was lost."""
    target_cut: bool
    """The last target lost its end."""


def is_overlong(encoded: Encoded, *, max_length: int) -> bool:
    """A source and what is learned from it each have `max_length` tokens."""
    source = 0 if encoded.source is None else len(encoded.source.ids)
    return max(len(encoded.start) + len(encoded.body), source) > max_length


def cut(encoded: Encoded, position: int, *, max_length: int, rule: Rule) -> Cut:
    """The row of example `position`, at most `max_length` long; start tokens always stay.

    truncate_prompt: the beginning goes, and of the last target nothing unless it is alone too long: then its end.
    truncate: the end goes. A source loses its end either way.
    """
    room = max(1, max_length - len(encoded.start))
    kept, prompt_cut, target_cut = slice(None), False, False
    if len(encoded.body) > room:
        target_length = len(encoded.body) - encoded.last
        target_cut = rule == "truncate" or target_length > room
        prompt_cut = rule == "truncate_prompt" and encoded.last > 0
        kept = slice(room) if rule == "truncate" else _from_the_left(encoded, room, target_length)
    ids, supervised = encoded.body[kept], encoded.supervised[kept].copy()
    if encoded.start:
        ids = np.concatenate([np.array(encoded.start, dtype=np.int32), ids])
        supervised = np.concatenate([np.zeros(len(encoded.start), dtype=bool), supervised])
    if encoded.source is None:
        supervised[0] = False  # nothing predicts the first token of a decoder-only row
        return Cut(TokenRow(position, ids, supervised), prompt_cut, target_cut)
    source = cut_source(encoded.source, max_length=max_length)
    row = TokenRow(position, ids, supervised, np.array(source, dtype=np.int32))
    return Cut(row, len(encoded.source.ids) > max_length, target_cut)


def windows(encoded: Encoded, position: int, *, max_length: int) -> list[TokenRow]:
    """A long document in rows of `max_length` that move on by half of it: every token is in the loss once, and from
    the second row on with at least half a row before it (the sliding window of the usual perplexity recipe)."""
    ids = np.concatenate([np.array(encoded.start, dtype=np.int32), encoded.body])
    supervised = np.concatenate([np.zeros(len(encoded.start), dtype=bool), encoded.supervised])
    supervised[0] = False
    rows, counted, stride = [], 0, max(1, max_length // 2)
    for begin in range(0, len(ids), stride):
        end = min(begin + max_length, len(ids))
        mine = supervised[begin:end].copy()
        mine[: counted - begin] = False
        rows.append(TokenRow(position, ids[begin:end], mine))
        counted = end
        if end == len(ids):
            break
    return rows


def cut_source(source: Source, *, max_length: int) -> list[int]:
    """The end goes, the closing tokens stay."""
    if len(source.ids) <= max_length:
        return source.ids
    return source.ids[: max_length - len(source.closing)] + source.closing


def cut_prompt(encoded: Encoded, *, max_length: int) -> np.ndarray:
    """What the model is given before it generates the last target: int32."""
    if encoded.source is not None:
        return np.array(cut_source(encoded.source, max_length=max_length), dtype=np.int32)
    room = max(1, max_length - len(encoded.start))
    body = encoded.body[: encoded.last]
    return np.concatenate([np.array(encoded.start, dtype=np.int32), body[max(0, len(body) - room) :]])


def _from_the_left(encoded: Encoded, room: int, target_length: int) -> slice:
    if target_length > room:
        return slice(encoded.last, encoded.last + room)
    return slice(len(encoded.body) - room, None)
