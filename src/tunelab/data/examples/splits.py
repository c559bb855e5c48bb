"""Which rows: those held out of train, and a smaller sample. Both depend on the rows, a seed and nothing else.

Draws sort by a hash instead of using a random generator: the same in every library version, a smaller draw is part
of a larger one, and a row added to a file moves no other row (but its twins, see twins.py, which go where it goes).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from tunelab.data.examples.twins import twin_key
from tunelab.data.reading.lazy import Selected
from tunelab.errors import DataError
from tunelab.records import Example

Item = TypeVar("Item")

SHIPPED = Path(__file__).with_name("low_places.npy")
"""Steps from one place to the next of those of low hashes: `python scripts/draws.py` computes them, and a test does."""
SHIPPED_SEED, SHIPPED_PLACES, SHIPPED_SHARE = 0, 2**20, 32
SHIPPED_LEAST = 50_000
"""Rows of which each is hashed in less time than a file takes to be read."""

VALIDATION_SHARE = 0.1
MAX_VALIDATION_ROWS = 500
VALIDATION_SEED = 0
"""Of its own, so that every method and every seed of a study validates on the same rows."""


class TrainValidation(NamedTuple):
    train: Sequence[Example]
    validation: Sequence[Example]


def split_validation(examples: Sequence[Example]) -> TrainValidation:
    """10 % of the rows, at least 1 and at most 500, become validation; rows whose prompts are twins stay on one side.

    Both keep the given order. Plain text, whose prompts are empty, is kept together by its text.

    Raises:
        DataError: all rows have the same prompt, so that nothing can be held out.
    """
    keys = _groups(examples)
    groups, sizes = np.unique(keys, return_counts=True)  # in the order of the digests
    if len(groups) < 2:
        raise DataError(
            f"train has {len(groups)} different prompt (case and white space aside); holding rows out for validation "
            "needs at least 2: add rows, or give the task a validation file"
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


def held_out(texts: Iterable[str], *, n: int, seed: int) -> np.ndarray:
    """bool, one a text: at most n of them, drawn as `draw` does, twins on one side, in the place of their first one.

    Raises:
        DataError: all texts are twins, so that nothing can be held out.
    """
    keys = np.array([_digest(VALIDATION_SEED, twin_key(text)) for text in texts], np.uint64)
    _, firsts, group, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(f"{len(keys)} rows that are equal (case and white space aside): none of them can be held out")
    order = np.argsort(_digests(seed, map(str, firsts.tolist()), len(firsts)), kind="stable")
    chosen = order[_filled(sizes[order], n)]
    return np.isin(group, chosen if len(chosen) else order[np.argmin(sizes[order])])


def draw(items: Sequence[Item], *, n: int | None, seed: int) -> Sequence[Item]:
    """n of the items, in their given order; all of them where n is None or there are no more."""
    if n is None or n >= len(items):
        return items
    return Selected(items, _drawn(len(items), n, seed))


@lru_cache(maxsize=8)
def _drawn(count: int, n: int, seed: int) -> np.ndarray:
    """Positions. Which hashes are the lowest is known of none before it is computed: every one of `count` is, but for
    those places that SHIPPED leaves out."""
    places = np.arange(count)
    if seed == SHIPPED_SEED and count > SHIPPED_LEAST:
        low = low_places()
        low = np.concatenate([low[low < count], places[SHIPPED_PLACES:]])
        if len(low) - max(0, count - SHIPPED_PLACES) >= n:  # each of n is lower than all that is left out
            places = low
    return np.sort(places[np.argsort(place_keys(seed, places), kind="stable")[:n]])


def place_keys(seed: int, places: np.ndarray) -> np.ndarray:
    """uint64, the first 64 bits of each place's hash."""
    return np.frombuffer(b"".join([sha256(b"%d\n%d" % (seed, place)).digest()[:8] for place in places.tolist()]), ">u8")


def low_places() -> np.ndarray:
    """Those of the first SHIPPED_PLACES whose hash by SHIPPED_SEED is below 1 / SHIPPED_SHARE of the largest one, in
    ascending order."""
    return np.cumsum(np.load(SHIPPED).astype(np.int64))


def _groups(examples: Sequence[Example]) -> np.ndarray:
    """uint64, one an example: twins have the same, and it is the group's place in the draw. That is the digest of the
    text itself where the whole group is written in one way, else of what its spellings have in common."""
    texts, keys = array("Q"), array("Q")
    for example in examples:
        key = twin_key(example.prompt)
        text, key = (example.prompt, key) if key else (example.target, twin_key(example.target))
        texts.append(_digest(VALIDATION_SEED, text))
        keys.append(texts[-1] if text == key else _digest(VALIDATION_SEED, key))
    texts, keys = np.array(texts), np.array(keys)
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    lowest, highest = (found.reduceat(texts[order], first) for found in (np.minimum, np.maximum))
    lengths = np.diff(first, append=len(keys))
    groups = np.empty(len(keys), np.uint64)
    groups[order] = np.where(np.repeat(lowest == highest, lengths), texts[order], keys[order])
    return groups


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
    return np.fromiter((_digest(seed, key) for key in keys), np.uint64, count)


def _digest(seed: int, key: str) -> int:
    """The first 64 bits of the key's hash: sorts as the whole hash does. Of a million keys two have the same with a
    probability of 3e-8."""
    # A lone surrogate can come out of JSON ("\ud800") and has no UTF-8.
    return int.from_bytes(sha256(f"{seed}\n{key}".encode(errors="surrogatepass")).digest()[:8], "big")
