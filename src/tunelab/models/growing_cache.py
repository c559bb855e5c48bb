"""Keys and values of a batch whose rows come and go: room to grow in place, and rows that are replaced in place.

transformers' own DynamicLayer copies everything at each token, and knows no row that joins later.
"""
# B rows, H heads, T tokens, D head size

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 32
"""Least number of tokens that fit before the next copy; a quarter of the length where that is more."""

ROWS = 8
"""Copied at a time."""


def cache_argument(forward: Callable[..., Any]) -> str:
    """What a model's forward calls its cache: transformers 5.24 renames `past_key_values`."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


class GrowingLayer(DynamicLayer):
    """`keys` and `values`, shape (B, H, T, D), are a window into tensors with room to the right and for more rows. Rows
    are aligned on the right: what one has less than the longest is on its left, and masked."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[Tensor, ...] = ()
        self._start = self._end = self._rows = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, ...]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        added = key_states.shape[-2]
        if not self._room or self._end + added > self._room[0].shape[-2]:
            if self._room and self._start >= added + max(ROOM, self.keys.shape[-2] // 4):
                self._move_left()
            else:
                self._settle(right=added)
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[: self._rows, :, self._end : self._end + added] = states
        self._end += added
        self._look()
        return self.keys, self.values

    def drop_left(self, count: int) -> None:
        """Forget the first `count` tokens of every row; nothing is copied."""
        self._start += count
        self._look()

    def widen(self, count: int) -> None:
        """`count` more tokens on the left of every row, to be masked."""
        self._settle(left=count)

    def reserve(self, rows: int) -> None:
        """Room for so many rows."""
        if rows > len(self._room[0]):
            self._settle(rows=rows)

    def add_rows(self, count: int) -> None:
        """Of zeros, to be masked, behind the others."""
        rows = self._rows + count
        self.reserve(rows)
        self._rows = rows
        self._look()

    def select(self, rows_B: Tensor) -> None:
        """Keep these rows, in this order; one may stand several times."""
        self._settle(rows_B)

    def copy(self, sources_N: Tensor, places_N: Tensor) -> None:
        """Put copies of the rows `sources_N` in the places `places_N`."""
        for held in (self.keys, self.values):
            held.index_copy_(0, places_N, held.index_select(0, sources_N))

    def replace(self, rows_N: Tensor, other: GrowingLayer) -> None:
        """Put the N rows of `other`, which is at most as long, in the places `rows_N`."""
        begin = self.keys.shape[-2] - other.keys.shape[-2]
        self.keys[rows_N, :, begin:] = other.keys
        self.values[rows_N, :, begin:] = other.values

    def _settle(self, rows_B: Tensor | None = None, *, left: int = 0, right: int = 0, rows: int = 0) -> None:
        """Copy these rows, or all, into new tensors, with empty tokens on the left, room on the right and room for so
        many rows, or for as many as there was. Of keys and values one is copied after the other, so that no more than
        one of them is there twice."""
        heads, length = self.keys.shape[1], self.keys.shape[-2]
        self._rows = len(self.keys) if rows_B is None else len(rows_B)
        batch = self._rows
        if rows_B is None:
            batch = max(batch, rows, len(self._room[0]) if self._room else 0)
        size = left + length + right + max(ROOM, length // 4)
        self._room = ()
        rooms = []
        for name in ("keys", "values"):
            held = getattr(self, name)
            room = held.new_zeros(batch, heads, size, held.shape[-1])
            window = room[: self._rows, :, left : left + length]
            if rows_B is None:
                window.copy_(held)
            else:
                for some, chosen in zip(window.split(ROWS), rows_B.split(ROWS), strict=True):
                    some.copy_(held[chosen])
            rooms.append(room)
            setattr(self, name, window)
        self._room = tuple(rooms)
        self._start, self._end = 0, left + length
        self._look()

    def _move_left(self) -> None:
        """To the beginning of the room, a few rows at a time, since both places may overlap."""
        length = self._end - self._start
        for room in self._room:
            for some in room[: self._rows].split(ROWS):
                some[:, :, :length] = some[:, :, self._start : self._end].clone()
        self._start, self._end = 0, length
        self._look()

    def _look(self) -> None:
        self.keys, self.values = (room[: self._rows, :, self._start : self._end] for room in self._room)


class GrowingCache(Cache):
    """A GrowingLayer for each of the model's layers, made when it is first written."""

    layers: list[GrowingLayer]

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=GrowingLayer)

    def drop_left(self, count: int) -> None:
        for layer in self.layers:
            layer.drop_left(count)

    def widen(self, count: int) -> None:
        for layer in self.layers:
            layer.widen(count)

    def reserve(self, rows: int) -> None:
        for layer in self.layers:
            layer.reserve(rows)

    def add_rows(self, count: int) -> None:
        for layer in self.layers:
            layer.add_rows(count)

    def select(self, rows: Sequence[int]) -> None:
        for layer in self.layers:
            layer.select(torch.tensor(rows, device=layer.keys.device))

    def reorder(self, rows: Sequence[int]) -> None:
        """As `select` with as many rows as there are, in place: only what changes is copied."""
        places = [place for place, row in enumerate(rows) if place != row]
        for layer in self.layers:
            here = layer.keys.device
            layer.copy(torch.tensor([rows[place] for place in places], device=here), torch.tensor(places, device=here))

    def replace(self, rows: Sequence[int], other: GrowingCache) -> None:
        for layer, joining in zip(self.layers, other.layers, strict=True):
            layer.replace(torch.tensor(rows, device=layer.keys.device), joining)
