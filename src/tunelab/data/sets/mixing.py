"""Several data sets as one: so many rows, or such a share, of each, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tunelab.data.examples.splits import draw
from tunelab.data.reading.lazy import Lazy
from tunelab.errors import DataError
from tunelab.records import Example


class Part(NamedTuple):
    """What one data set gives to a mixture."""

    source: str
    """Its name: becomes `Example.source`, and begins the ids, as 'alpaca/train-000012'."""
    examples: Sequence[Example]
    n: int | None = None
    """At most so many rows; None: all."""
    weight: float | None = None
    """Its share, relative to the other weights; None: every row that `n` allows, whatever the others give."""


class Mixed(NamedTuple):
    examples: Sequence[Example]
    """Made when asked for."""
    counts: dict[str, int]
    """Rows of each source that are in it."""


def mix(parts: Sequence[Part], *, seed: int) -> Mixed:
    """Rows of every part, drawn by `seed`, the sources spread evenly over the whole.

    The same n and seed always give the same rows, and a smaller n rows that are among those of a larger one. Weighted
    parts together give as many rows as their shares allow without a row twice: the scarcest decides. Rows of one
    source keep their given order, so that files are read forwards; training draws its own (data/tokens/batching.py).

    Raises:
        DataError: no part, a name twice, a negative or zero weight, or a part that gives no row.
    """
    names = [part.source for part in parts]
    if not names or len(set(names)) < len(names):
        raise DataError(f"a mixture needs sources with different names; got {', '.join(names) or 'none'}")
    counts = _counts(parts)
    chosen = [draw(part.examples, n=counts[part.source], seed=seed) for part in parts]
    return Mixed(_Interleaved(names, chosen), counts)


def _counts(parts: Sequence[Part]) -> dict[str, int]:
    for part in parts:
        if part.weight is not None and not part.weight > 0:
            raise DataError(f"{part.source}: weight {part.weight} must be above 0; leave the source out instead")
    available = {
        part.source: len(part.examples) if part.n is None else min(part.n, len(part.examples)) for part in parts
    }
    weights = {part.source: part.weight for part in parts if part.weight is not None}
    # 1e-9: a share such as 0.1 of 10 rows is 1 row, not the 0.999... of floating point.
    scale = min((available[name] / weight for name, weight in weights.items()), default=0.0)
    counts = {
        name: int(scale * weights[name] + 1e-9) if name in weights else number for name, number in available.items()
    }
    for name, number in counts.items():
        if not number:
            raise DataError(f"{name}: gives no row to the mixture (it has {available[name]}); raise its n or weight")
    return counts


class _Interleaved(Lazy[Example]):
    def __init__(self, names: Sequence[str], parts: Sequence[Sequence[Example]]) -> None:
        self.names, self.parts = names, parts
        sizes = [len(part) for part in parts]
        places = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
        order = np.argsort(places, kind="stable")
        self.part = np.repeat(np.arange(len(parts)), sizes)[order].astype(np.int16)
        self.position = np.concatenate([np.arange(size) for size in sizes])[order]

    def __len__(self) -> int:
        return len(self.position)

    def _at(self, position: int) -> Example:
        part = int(self.part[position])
        example = self.parts[part][int(self.position[position])]
        return example._replace(id=f"{self.names[part]}/{example.id}", source=self.names[part])
