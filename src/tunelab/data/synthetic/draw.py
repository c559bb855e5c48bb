"""Seeded choice: the random generator of one row, and the split that a row's facts belong to.

Python's `hash` changes from process to process and `random.choice` has changed between versions, so neither is used.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SPLITS = ("train", "validation", "test")


def generator(*key: object) -> random.Random:
    """The random generator of one item: the same key gives the same draws on every machine."""
    return random.Random("-".join(map(str, key)))


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One item, all equally likely."""
    return items[int(rng.random() * len(items))]


def weighted(rng: random.Random, items: Sequence[tuple[float, T]]) -> T:
    """One item of (weight, item) pairs."""
    threshold = rng.random() * sum(weight for weight, _ in items)
    for weight, item in items:
        threshold -= weight
        if threshold < 0:
            return item
    return items[-1][1]


def shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    """The items in random order; the argument is left alone."""
    order = [(rng.random(), index) for index in range(len(items))]
    return [items[index] for _, index in sorted(order)]


def share(*key: object) -> float:
    """A number in [0, 1) that depends on the key and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_of(*facts: object) -> str:
    """The one split that may show these facts: 65 % train, 10 % validation, 25 % test, whatever the seed."""
    position = share("split", *facts)
    if position < 0.65:
        return "train"
    return "validation" if position < 0.75 else "test"


def check_split(split: str) -> None:
    """Raises ValueError for a split that is not generated."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
