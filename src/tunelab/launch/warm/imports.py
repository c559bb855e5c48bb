"""Importing heavy packages without the garbage collector, whose passes over the million objects that torch and
transformers make, and keep, take a fifth of the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (2_000_000, 50, 1_000)
"""Thresholds for a process that imports, answers and ends: more new objects than all its imports make, for every
threshold below that looks at each of them once."""


@contextmanager
def importing() -> Iterator[None]:
    """For a process of our own: no pass until the end of the block, and what was made in it is in none afterwards."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def collect_seldom() -> None:
    """For a process of our own that ends soon."""
    gc.set_threshold(*SELDOM)
