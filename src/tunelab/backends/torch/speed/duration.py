"""How long an effort takes, product after product and pass after pass, at a device's rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from tunelab.backends.torch.speed.calibration import measurable
from tunelab.computation.effort import Effort, Function, Product, Shape

MOST_MEASURED = 64
"""Shapes of a study at most; what else it needs lies between those and what was measured before."""


class Speed(Protocol):
    """A calibration, or published peaks."""

    @property
    def operation_seconds(self) -> float: ...

    @property
    def module_seconds(self) -> float: ...

    @property
    def overlaps(self) -> bool:
        """Whether calls go on while the device works, so that the longer of the two is what it takes."""
        ...

    def product_seconds(self, shape: Shape, dtype: str) -> float: ...

    def pass_rate(self, function: Function, dtype: str, num_bytes: float) -> float:
        """Bytes a second, of operations that read and write so many."""
        ...


class Seconds(NamedTuple):
    """By what they follow."""

    tokens: float
    """Grow with a micro-batch's tokens."""
    each: float
    """Of every micro-batch, however small: what is done to weights."""
    calls: float
    overlaps: bool

    def of(self, share: float = 1.0, times: float = 1.0) -> float:
        """Of so many micro-batches with this share of the tokens each."""
        work = self.tokens * share + self.each
        return times * (max(work, self.calls) if self.overlaps else work + self.calls)


def seconds(effort: Effort, speed: Speed) -> Seconds:
    products = sum(speed.product_seconds(each.shape, each.dtype) * times for each, times in effort.products)
    passes = {False: 0.0, True: 0.0}
    for each, size in effort.passes:
        passes[each.fixed] += size / speed.pass_rate(each.function, each.dtype, 1.5 * 2.0**each.octave)
    calls = effort.operations * speed.operation_seconds + effort.modules * speed.module_seconds
    return Seconds(products + passes[False], passes[True], calls, speed.overlaps)


def wanted_shapes(efforts: Iterable[Effort]) -> dict[str, list[Shape]]:
    """By type, those with most to compute: to be measured."""
    found = Counter[Product]()
    for effort in efforts:
        for product, times in effort.products:
            found[Product(product.dtype, measurable(product.shape))] += int(product.shape.flops * times)
    shapes: dict[str, list[Shape]] = {}
    for product, _ in found.most_common(MOST_MEASURED):
        shapes.setdefault(product.dtype, []).append(product.shape)
    return shapes
