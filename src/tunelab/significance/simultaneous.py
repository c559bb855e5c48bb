"""Simultaneous limits of what each method lacks to the best, from joint draws of all scores (see beside_best.py)."""
# R draws, M methods

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Limits(NamedTuple):
    """Of M methods; scores are turned so that higher is better. [k, m]: how far k is ahead of m."""

    ahead: np.ndarray
    """M x M: differences of the means."""
    errors: np.ndarray
    """M x M: their standard errors."""
    above: np.ndarray
    """M: c_k, with which no other method is further below k than its upper limit says."""
    below: np.ndarray
    """M: q of each method, from the step at which it was found worse, or the last."""

    @property
    def upper(self) -> np.ndarray:
        """M: upper limits of what a method lacks to the truly best one."""
        return np.maximum(0.0, self._reach.max(axis=0))

    @property
    def lower(self) -> np.ndarray:
        """M: lower limits of it; above 0 for the methods that are worse."""
        return self._sure.max(axis=0)

    @property
    def better(self) -> np.ndarray:
        """M x M: whether k is significantly better than m."""
        return self._sure > 0

    @property
    def nearest_rival(self) -> np.ndarray:
        """M: the method that sets the upper limit."""
        return self._reach.argmax(axis=0)

    @property
    def _reach(self) -> np.ndarray:
        return _without_itself(self.ahead + self.above[:, None] * self.errors)

    @property
    def _sure(self) -> np.ndarray:
        return _without_itself(self.ahead - self.below[None, :] * self.errors)


def limits(means: np.ndarray, draws: np.ndarray, errors: np.ndarray, *, level: float) -> Limits:
    """From the means M, joint draws of them R x M, and standard errors of the differences M x M. Level 0: nothing may
    be claimed, and all limits are infinite."""
    tiny = 1e-12 * max(1e-300, float(np.abs(means).max()))
    ahead = means[:, None] - means[None, :]
    ahead[np.abs(ahead) <= tiny] = 0.0  # equal methods differ by rounding in the last place
    errors = np.maximum(errors, tiny)
    centred = draws - draws.mean(axis=0)
    highest = np.full(centred.shape, -np.inf)  # R x M: the largest standardised lead of any method over m
    above = np.zeros(len(means))
    for k in range(len(means)):
        lead = (centred[:, [k]] - centred) / errors[k]
        lead[:, k] = -np.inf
        np.maximum(highest, lead, out=highest)
        lead[:, k] = np.inf
        above[k] = _quantile(-lead.min(axis=1), level) if len(means) > 1 else 0.0
    return Limits(ahead, errors, above, _step_down(ahead, errors, highest, level=level))


def _step_down(ahead: np.ndarray, errors: np.ndarray, highest: np.ndarray, *, level: float) -> np.ndarray:
    """The quantile that holds for each method: those found worse leave, and the rest are tested among fewer."""
    num = len(ahead)
    found = np.zeros(num)
    if num < 2:
        return found
    observed = _without_itself(ahead / errors).max(axis=0)
    left = np.ones(num, dtype=bool)
    while left.any():
        critical = _quantile(highest[:, left].max(axis=1), level)
        worse = left & (observed > critical)
        found[worse if worse.any() else left] = critical
        if not worse.any():
            break
        left &= ~worse
    return found


def _quantile(largest: np.ndarray, level: float) -> float:
    return float(np.quantile(largest, 1 - level)) if level > 0 else np.inf


def _without_itself(values: np.ndarray) -> np.ndarray:
    values = np.array(values, dtype=np.float64)
    np.fill_diagonal(values, -np.inf)
    return values
