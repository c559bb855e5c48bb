"""Whether labels fit beside their points: geometry in shares of the axes, so that it needs no drawn figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LETTER_WIDTH = 0.024
"""Of a letter in a 3.35 inch figure's axes."""
LABEL_HEIGHT = 0.07
LABEL_GAP = 0.03
"""Between a point and its label."""
LABEL_UP = 0.005
"""Above the point: the Pareto front runs through it."""
POINT_HALF = 0.02


class Spot(NamedTuple):
    """A point with its interval, and the width that its label needs."""

    across: float
    up: float
    low: float
    high: float
    width: float

    @property
    def side(self) -> int:
        """The label's side: 1 right of the point; -1 left of it, where the right has no room."""
        return 1 if self.across + self.width <= 1 else -1

    @property
    def label(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top of the label."""
        near = self.across + self.side * LABEL_GAP
        far = self.across + self.side * self.width
        return (min(near, far), max(near, far), self.up + LABEL_UP, self.up + LABEL_UP + LABEL_HEIGHT)

    @property
    def point(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top of the point and its interval."""
        half = POINT_HALF
        return (self.across - half, self.across + half, min(self.low, self.up - half), max(self.high, self.up + half))


def free_labels(spots: Sequence[Spot]) -> bool:
    """Whether every label stays in the axes and touches no other label and no other point."""
    if any(spot.label[0] < 0 or spot.label[3] > 1 for spot in spots):
        return False
    return not any(
        _touch(spot.label, other.label) or _touch(spot.label, other.point)
        for place, spot in enumerate(spots)
        for number, other in enumerate(spots)
        if number != place
    )


def _touch(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    return first[0] < second[1] and second[0] < first[1] and first[2] < second[3] and second[2] < first[3]
