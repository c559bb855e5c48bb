"""How far the seeds of a method scatter, and what few seeds borrow from the other methods.

With two or three seeds a method's own variance has one or two degrees of freedom: an interval from it alone is so wide
that nothing can ever be told. So a method takes the larger of its own variance and the mean variance over all methods
of the comparison, with Satterthwaite's degrees of freedom of that mean (Biometrics Bulletin 2, 1946): as many as all
methods have together where they scatter alike, nearly one method's own where one of them scatters far more. One with
fewer seeds than others keeps its own degrees of freedom: what many seeds of calm methods say would make it sure.

A method is unsteady where one of its seeds lost more than half of what its best seed gains over the base, by more than
the choice of test examples explains, or where its variance is far above the others' (F test at 0.1 %): it sometimes
fails. It borrows nothing: its own variance, with its own degrees of freedom. Where it is the exception (three seeds or
more, at most a quarter of the methods, not the best mean) it is set apart: it lends nothing, and no other method is
compared with it. Else a failure that one method shows is what the others may have yet to show, and it counts for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

SHARE = 0.5
"""Of the variance that comes from the choice of examples, which is taken off the seeds' variance: it is in the
replicates already. Taking off all of it hides a real effect of the seeds too often, for few seeds say little."""
LOST = 0.5
"""A seed that gains less than this share of the best seed's gain has failed."""
BEYOND_EXAMPLES = 4.0
"""Standard deviations of the difference of two seeds that the choice of examples alone may explain."""
FAR_ABOVE = 0.001
"""Level of the F test of one method's variance against the others'."""
FEWEST_TO_STAND_APART = 3
MOST_APART = 0.25
"""Share of the methods that may be exceptions: of two or three none is, or the other would be judged alone."""


class Scatter(NamedTuple):
    """What the seeds of one method say."""

    scores: tuple[float, ...]
    """A seed each, on the scale on which differences are taken."""
    from_examples: float
    """The part of their variance that comes from the choice of examples."""

    @classmethod
    def of(cls, scores: np.ndarray, replicates: np.ndarray) -> Scatter:
        """From the scores S and their replicates R x S."""
        around = replicates - replicates.mean(axis=0)
        return cls(tuple(map(float, scores)), float(np.var(around, axis=1, ddof=1).mean()))

    @property
    def freedom(self) -> int:
        return len(self.scores) - 1

    @property
    def between(self) -> float:
        return float(np.var(self.scores, ddof=1))

    @property
    def own(self) -> float:
        """Variance of a seed's effect."""
        return max(0.0, self.between - SHARE * self.from_examples)


class Noise(NamedTuple):
    """Of a seed's effect on the score."""

    variance: float
    freedom: float
    borrowed: bool
    """Whether the estimate is shared with other methods, so that they err together."""


def unsteady(scatters: Mapping[str, Scatter], *, base: float | None, sign: int) -> tuple[str, ...]:
    """Methods that sometimes fail. `base`: the base's score, None where there is none; `sign`: -1, lower is better."""
    found = []
    for label, one in scatters.items():
        others = [other for name, other in scatters.items() if name != label]
        if _lost_its_gain(one, base, sign) or _far_above(one, others):
            found.append(label)
    return tuple(found)


def set_apart(scatters: Mapping[str, Scatter], failing: tuple[str, ...], *, sign: int) -> tuple[str, ...]:
    """Those of the unsteady methods that are exceptions."""
    few = min((len(one.scores) for one in scatters.values()), default=0) < FEWEST_TO_STAND_APART
    if few or len(failing) > MOST_APART * len(scatters):
        return ()
    means = {label: sign * float(np.mean(one.scores)) for label, one in scatters.items()}
    steady = max((mean for label, mean in means.items() if label not in failing), default=-math.inf)
    return tuple(label for label in failing if means[label] < steady)


def seed_noise(scatters: Mapping[str, Scatter], failing: tuple[str, ...], apart: tuple[str, ...]) -> dict[str, Noise]:
    """Of every method; `failing`: those that are unsteady, `apart`: those of them that are set apart."""
    lenders = [one for label, one in scatters.items() if label not in apart]
    pooled, freedom = _pooled(lenders)
    most = max((one.freedom for one in scatters.values()), default=0)
    found = {}
    for label, one in scatters.items():
        if label in apart:
            found[label] = Noise(one.own, one.freedom, False)
        elif label in failing or one.freedom < most:
            found[label] = Noise(max(one.own, pooled), one.freedom, False)
        else:
            found[label] = Noise(max(one.own, pooled), freedom, True)
    return found


def _pooled(lenders: list[Scatter]) -> tuple[float, float]:
    """Mean variance, weighted by degrees of freedom, and Satterthwaite's degrees of freedom of it."""
    together = sum(one.freedom for one in lenders)
    if not together:
        return 0.0, 1.0
    parts = [one.freedom * one.between for one in lenders]
    squares = sum(one.freedom * one.between**2 for one in lenders)
    freedom = sum(parts) ** 2 / squares if squares > 0 else float(together)
    return sum(one.freedom * one.own for one in lenders) / together, freedom


def _lost_its_gain(one: Scatter, base: float | None, sign: int) -> bool:
    if base is None:
        return False
    gains = [sign * (score - base) for score in one.scores]
    best, worst = max(gains), min(gains)
    explained = BEYOND_EXAMPLES * math.sqrt(2 * one.from_examples)
    return best > 0 and worst < LOST * best and best - worst > explained


def _far_above(one: Scatter, others: list[Scatter]) -> bool:
    freedom = sum(other.freedom for other in others)
    if not freedom:
        return False
    mean = sum(other.freedom * max(other.between, other.from_examples) for other in others) / freedom
    if one.between <= mean:
        return False
    if mean <= 0:
        return one.between > 1e-24 * max(score**2 for score in one.scores)
    draws = np.random.default_rng([one.freedom, freedom])
    upper, lower = draws.chisquare(one.freedom, 20_000) / one.freedom, draws.chisquare(freedom, 20_000) / freedom
    return bool(np.mean(upper >= one.between / mean * lower) < FAR_ABOVE)
