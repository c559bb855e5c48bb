"""Packing: documents of plain text share training rows, one after the other, and none sees another.

A document too long for what is left of a row goes on in the next one. The first token of every piece has no context
and is not supervised; a tokenizer with a start token has put it there. A piece of one token would teach nothing, so
cuts avoid it. A document that is not cut has the loss that it has alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tunelab.records import TokenRow


class Piece(NamedTuple):
    example: int
    ids: np.ndarray
    supervised: np.ndarray


class Packer:
    """Documents in, full rows out, in the order given; `rest` gives what is not full at the end."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.num_documents = 0
        self.num_split = 0
        """Documents that lie in more than one row."""
        self._pieces: list[Piece] = []
        self._length = 0

    def add(self, document: TokenRow) -> Iterator[TokenRow]:
        """Rows that this document has filled."""
        self.num_documents += 1
        begin, length = 0, len(document.ids)
        while begin < length:
            if self._length and self.max_length - self._length < 2:
                yield from self.rest()
            take = self._take(length - begin)
            self.num_split += begin == 0 and take < length
            kept = slice(begin, begin + take)
            supervised = document.supervised[kept].copy()
            supervised[0] = False
            self._pieces.append(Piece(document.example, document.ids[kept], supervised))
            self._length += take
            begin += take

    def rest(self) -> Iterator[TokenRow]:
        """The row begun, if there is something to learn in it."""
        pieces, self._pieces, self._length = self._pieces, [], 0
        if any(piece.supervised.any() for piece in pieces):
            yield _joined(pieces)

    def _take(self, left: int) -> int:
        room = self.max_length - self._length
        leaves_one = left - room == 1 and room > 2
        return min(left, room - leaves_one)


def documents(row: TokenRow) -> list[TokenRow]:
    """The pieces of a packed row, each a row of its own; another row alone."""
    if not row.starts:
        return [row]
    ends = (*row.starts[1:], len(row.ids))
    return [
        TokenRow(row.example, row.ids[start:end], row.supervised[start:end])
        for start, end in zip(row.starts, ends, strict=True)
    ]


def excerpt(row: TokenRow, *, tokens: int = 16) -> TokenRow:
    """Of a packed row the end of one document and the beginning of the next, the longest that follows another: enough
    to see whether they are kept apart."""
    whole = documents(row)
    second = max(range(1, len(whole)), key=lambda number: len(whole[number].ids))
    parts = whole[second - 1], whole[second]
    kept = (slice(-tokens, None), slice(tokens))
    pieces = [
        Piece(row.example, part.ids[cut], part.supervised[cut].copy()) for part, cut in zip(parts, kept, strict=True)
    ]
    for piece in pieces:
        piece.supervised[0] = False
    return _joined(pieces)


def positions(row: TokenRow) -> np.ndarray:
    """int64, shape T: counted from 0 in every document; by this a model tells packed documents apart."""
    places = np.arange(len(row.ids))
    return places - np.repeat(row.starts or (0,), np.diff((*(row.starts or (0,)), len(row.ids))))


def _joined(pieces: list[Piece]) -> TokenRow:
    starts = np.cumsum([0, *(len(piece.ids) for piece in pieces[:-1])]).tolist()
    return TokenRow(
        pieces[0].example,
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.supervised for piece in pieces]),
        starts=tuple(starts) if len(pieces) > 1 else (),
    )
