"""What would decide about a method that is undecided: so many seeds, or so many test examples.

With d what it lacks to the method that it is compared with (negative: it is ahead), v the variance that N test examples
give d and s the variance that one seed of each gives it, the standard error with S seeds and N' examples is

    w^2 = s / S + v N / N'

It is found as good in 8 of 10 studies where d + (c + z) w < margin, and worse where d > (q + z) w, with c and q of the
limits (simultaneous.py) and z = 0.84, on the assumption that the true difference is the measured one: a plan, not a
promise. The larger of both w is the one to reach. c and q are kept; they fall a little with more seeds.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

POWER = 0.8
"""How often a study of the needed size decides."""
MOST = 1_000_000
"""Seeds or examples beyond which nothing is said."""


class Needed(NamedTuple):
    """In all, not in addition. Either alone is enough; None: that alone never is."""

    seeds: int | None
    examples: int | None
    times: float | None
    """Where neither alone is enough: so many times as many of both. None where one is."""


def needed(
    lacks: float, *, margin: float | None, above: float, below: float, per_seed: float, over_examples: float,
    num_seeds: int, num_examples: int,
) -> Needed | None:  # fmt: skip
    """None: the difference is so near to 0 or to the margin that nothing of this size decides.

    Args:
        above, below: quantiles c and q of the limits.
        per_seed: variance of the difference that one seed of each method gives.
        over_examples: variance of the difference that the `num_examples` give.
    """
    z = NormalDist().inv_cdf(POWER)
    ways = [lacks / (below + z)]
    if margin is not None:
        ways.append((margin - lacks) / (above + z))
    wanted = max(ways) ** 2 if max(ways) > 0 else 0.0
    if not wanted:
        return None
    seeds = per_seed / (wanted - over_examples) if wanted > over_examples else math.inf
    examples = (
        num_examples * over_examples / (wanted - per_seed / num_seeds) if wanted > per_seed / num_seeds else math.inf
    )
    if seeds <= MOST or examples <= MOST:
        return Needed(_at_least(seeds, num_seeds + 1), _at_least(examples, num_examples + 1), None)
    times = (per_seed / num_seeds + over_examples) / wanted
    return Needed(None, None, times) if times <= MOST else None


def _at_least(value: float, least: int) -> int | None:
    return max(least, math.ceil(value)) if value <= MOST else None
