"""Sequences that make an item when it is asked for, so that a million rows take the memory of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")


class Lazy(Sequence[Item]):
    """Items by position; equal to any sequence with equal items, as a list is. A slice is a list."""

    @cached_property
    def known(self) -> dict[Any, Any]:
        """What readers have found out about the items, so that none has to look at all of them again."""
        return {}

    @abstractmethod
    def _at(self, position: int) -> Item:
        """The item at 0 <= position < len(self)."""

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self._at(index) for index in range(*position.indices(len(self)))]
        index = int(position)
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"position {position} of {len(self)}")
        return self._at(index)

    def __iter__(self) -> Iterator[Item]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(mine == yours for mine, yours in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} items)"


class Selected(Lazy[Item]):
    """Some items of another sequence, in the order of the positions."""

    def __init__(self, items: Sequence[Item], positions: Iterable[int] | np.ndarray) -> None:
        self.items = items
        self.positions = np.asarray(positions if isinstance(positions, np.ndarray) else list(positions), np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    def _at(self, position: int) -> Item:
        return self.items[int(self.positions[position])]
