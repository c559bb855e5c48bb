"""Which rows: a validation split drawn from train, and a smaller sample. Both depend on a seed and nothing else.

Draws sort by a hash instead of using a random generator: the same in every library version, a smaller draw is part
of a larger one, and a row added to a file moves no other row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from tunelab.errors import DataError
from tunelab.records import Example

Item = TypeVar("Item")

VALIDATION_SHARE = 0.1
MAX_VALIDATION_ROWS = 500
VALIDATION_SEED = 0
"""Of its own, so that every method and every seed of a study validates on the same rows."""


class TrainValidation(NamedTuple):
    train: list[Example]
    validation: list[Example]


def split_validation(examples: Sequence[Example]) -> TrainValidation:
    """10 % of the rows, at least 1 and at most 500, become validation; rows with one prompt stay on one side.

    Both lists keep the given order. Plain text, whose prompts are empty, is kept together by its text.

    Raises:
        DataError: all rows have the same prompt, so that nothing can be held out.
    """
    groups: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        groups.setdefault(example.prompt or example.target, []).append(position)
    if len(groups) < 2:
        raise DataError(
            f"train has {len(groups)} different prompt; holding rows out for validation needs at least 2: "
            "add rows, or give the task a validation file"
        )
    wanted = min(MAX_VALIDATION_ROWS, max(1, int(len(examples) * VALIDATION_SHARE)))
    held_out: set[int] = set()
    for prompt in sorted(groups, key=lambda prompt: _hash(VALIDATION_SEED, prompt)):
        if len(held_out) + len(groups[prompt]) <= wanted:
            held_out.update(groups[prompt])
    if not held_out:  # Every prompt has more rows than were wanted.
        held_out.update(min(groups.values(), key=len))
    return TrainValidation(
        train=[example for position, example in enumerate(examples) if position not in held_out],
        validation=[example for position, example in enumerate(examples) if position in held_out],
    )


def draw(items: Sequence[Item], *, n: int | None, seed: int) -> list[Item]:
    """n of the items, in their given order; all of them where n is None or there are no more."""
    if n is None or n >= len(items):
        return list(items)
    chosen = sorted(range(len(items)), key=lambda position: _hash(seed, str(position)))[:n]
    return [items[position] for position in sorted(chosen)]


def _hash(seed: int, key: str) -> bytes:
    # A lone surrogate can come out of JSON ("\ud800") and has no UTF-8.
    return hashlib.sha256(f"{seed}\n{key}".encode(errors="surrogatepass")).digest()
