"""What a look at the data costs, where seeds are added until a study is decided.

Words that are taken again after every further seed would be wrong far more often than at 5 %, so a level is spent
over the looks (Lan and DeMets 1983, Biometrika 70, 659-663): until the share t = seeds / most seeds of the whole has
been seen, as much as their function of Pocock's type,

    spent(t) = level * ln(1 + (e - 1) t)

A look's own level is the one with which a Brownian motion that has stayed below the earlier looks' bounds crosses for
the first time with what may be spent now. Test examples do not grow with the seeds, which only ties the looks closer to
each other, so that less is spent than is paid for. A word once given stays. Levels by simulation:
benchmarks/until_decided.py and docs/decisions.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from tunelab.significance.intervals import LEVEL

TOTAL = 0.7 * LEVEL
"""Of the level is spent: with the whole of it, five methods that scatter much, one of them three times as much, were
judged wrongly in 6.3 to 6.8 % of 400 simulated studies, for few seeds hardly know the far tails that looks ask for."""
PATHS = 400_000
"""Of the simulated motion: the level of a look is known to some 2 % of itself."""


class Taken(NamedTuple):
    """A look that was taken."""

    seeds: int
    """Of the methods that were still undecided."""
    level: float
    """At which it was taken."""


def spent(seeds: int, most: int, *, level: float = TOTAL) -> float:
    """Of the level, when so many of the most seeds have been seen."""
    return level * math.log(1 + (math.e - 1) * min(1.0, seeds / most))


def next_level(earlier: Sequence[Taken], seeds: int, most: int, *, level: float = TOTAL) -> float:
    """The level of a look at `seeds` seeds, after the earlier ones. 0: nothing is left to spend."""
    normal = NormalDist()
    draw = np.random.default_rng(0)  # earlier looks find the motion that they were made with
    motion, still_below = np.zeros(PATHS), np.ones(PATHS, dtype=bool)
    before = 0
    for look in earlier:
        motion += math.sqrt(look.seeds - before) * draw.normal(size=PATHS)
        if look.level > 0:
            still_below &= motion < math.sqrt(look.seeds) * normal.inv_cdf(1 - look.level)
        before = look.seeds
    motion += math.sqrt(max(0, seeds - before)) * draw.normal(size=PATHS)
    allowed = spent(seeds, most, level=level) - float(np.mean(~still_below))
    crossing = int(allowed * PATHS)
    if crossing < 1:
        return 0.0
    bound = np.partition(motion[still_below], -crossing)[-crossing] / math.sqrt(seeds)
    return 1 - normal.cdf(float(bound))
