"""Which rows: a validation split drawn from train, and a smaller sample. Both depend on a seed and nothing else.

Draws sort by a hash instead of using a random generator: the same in every library version, a smaller draw is part
of a larger one, and a row added to a file moves no other row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple, TypeVar

import numpy as np

from tunelab.data.reading.lazy import Selected
from tunelab.errors import DataError
from tunelab.records import Example

Item = TypeVar("Item")

VALIDATION_SHARE = 0.1
MAX_VALIDATION_ROWS = 500
VALIDATION_SEED = 0
"""Of its own, so that every method and every seed of a study validates on the same rows."""


class TrainValidation(NamedTuple):
    train: Sequence[Example]
    validation: Sequence[Example]


def split_validation(examples: Sequence[Example]) -> TrainValidation:
    """10 % of the rows, at least 1 and at most 500, become validation; rows with one prompt stay on one side.

    Both keep the given order. Plain text, whose prompts are empty, is kept together by its text.

    Raises:
        DataError: all rows have the same prompt, so that nothing can be held out.
    """
    keys = _digests(VALIDATION_SEED, (example.prompt or example.target for example in examples), len(examples))
    groups, sizes = np.unique(keys, return_counts=True)  # in the order of the digests
    if len(groups) < 2:
        raise DataError(
            f"train has {len(groups)} different prompt; holding rows out for validation needs at least 2: "
            "add rows, or give the task a validation file"
        )
    wanted = min(MAX_VALIDATION_ROWS, max(1, int(len(examples) * VALIDATION_SHARE)))
    chosen = _filled(sizes, wanted)
    if not chosen:  # Every prompt has more rows than were wanted: the smallest group, the first of them in the file.
        smallest = groups[sizes == sizes.min()]
        chosen = [int(np.searchsorted(groups, keys[np.isin(keys, smallest)][0]))]
    held_out = np.isin(keys, groups[chosen])
    return TrainValidation(
        train=Selected(examples, np.flatnonzero(~held_out)), validation=Selected(examples, np.flatnonzero(held_out))
    )


def draw(items: Sequence[Item], *, n: int | None, seed: int) -> Sequence[Item]:
    """n of the items, in their given order; all of them where n is None or there are no more."""
    if n is None or n >= len(items):
        return items
    keys = _digests(seed, map(str, range(len(items))), len(items))
    return Selected(items, np.sort(np.argsort(keys, kind="stable")[:n]))


def _filled(sizes: np.ndarray, wanted: int) -> list[int]:
    """The groups, in order, that fit into what is left of `wanted` when their turn comes."""
    chosen, left = [], wanted
    for group, size in enumerate(sizes.tolist()):
        if size <= left:
            chosen.append(group)
            left -= size
            if not left:
                break
    return chosen


def _digests(seed: int, keys: Iterable[str], count: int) -> np.ndarray:
    """The first 64 bits of each key's hash: sorts as the whole hash does. Of a million keys two have the same with a
    probability of 3e-8."""
    # A lone surrogate can come out of JSON ("\ud800") and has no UTF-8.
    hashes = (sha256(f"{seed}\n{key}".encode(errors="surrogatepass")).digest() for key in keys)
    return np.fromiter((int.from_bytes(digest[:8], "big") for digest in hashes), np.uint64, count)
