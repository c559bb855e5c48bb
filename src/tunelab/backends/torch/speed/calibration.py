"""Rates of one machine's products and copies, and between the shapes that were measured."""
# N rows, I inputs, O outputs

from __future__ import annotations

import math

from tunelab.computation.effort import Function, Shape
from tunelab.config.schema import Products
from tunelab.records import Record

NEARNESS = 4
"""How much more a shape counts that is nearer: its weight is its distance to the power of -4."""


class ProductRate(Record):
    """Of one shape in one type, by its best sample."""

    shape: Shape
    dtype: Products
    flops_per_second: float

    @property
    def name(self) -> str:
        return "x".join(map(str, self.shape if self.shape.batch > 1 else self.shape[:3]))

    @property
    def giga(self) -> float:
        """GFLOP/s."""
        return self.flops_per_second / 1e9


class PassRate(Record):
    """Of one operation over numbers in one type, by its best sample."""

    function: Function
    dtype: Products
    num_bytes: int
    """That it reads and writes."""
    bytes_per_second: float


class Machine(Record):
    """All that rates are known by."""

    host: str
    processor: str
    device: str
    """'cpu' or the GPU's name."""
    torch: str
    threads: int


class Calibration(Record):
    format: int
    machine: Machine
    products: tuple[ProductRate, ...]
    passes: tuple[PassRate, ...]
    bytes_per_second: float
    """Read and written together, of a copy."""
    operation_seconds: float
    """Of a call on next to no numbers."""
    module_seconds: float
    """Of a layer of next to no numbers, forward and backward: what Python and autograd add to its calls."""
    slower: float
    """How many times as long the clock ran as the samples computed: above 1.2 the machine had other work."""
    when: str
    """UTC, ISO 8601, of the last measurement."""

    @property
    def dtypes(self) -> tuple[Products, ...]:
        return tuple(dict.fromkeys(each.dtype for each in self.products))

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.bytes_per_second

    @property
    def calls(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("operation_seconds", "module_seconds")}

    @property
    def overlaps(self) -> bool:
        return self.machine.device != "cpu"

    def rate(self, shape: Shape, dtype: str) -> float:
        """FLOP/s: as measured, else between the measured shapes, the nearer ones counting more. Distances and rates are
        taken in their logarithms, so it is never above or below all that was measured."""
        known = [(product, _distance(product.shape, shape)) for product in self.products if product.dtype == dtype]
        assert known, f"{dtype} was not measured"
        return _between([(product.flops_per_second, distance) for product, distance in known])

    def pass_rate(self, function: Function, dtype: str, num_bytes: float) -> float:
        """Bytes a second, of operations that read and write so many: no faster than they could be moved. A function
        that was not measured in the type counts as in fp32."""
        moved = _between(
            [
                (each.bytes_per_second, abs(math.log2(each.num_bytes / num_bytes)))
                for each in self.passes
                if each.function == "move"
            ]
        )
        own = {each.dtype: each.bytes_per_second for each in self.passes if each.function == function != "move"}
        return min(moved, own.get(dtype, own.get("fp32", moved)))  # pyright: ignore[reportArgumentType, reportCallIssue]

    def product_seconds(self, shape: Shape, dtype: str) -> float:
        return shape.flops / self.rate(measurable(shape), dtype)


MOST_FLOPS = 2.5e8
"""Of a product that is measured: it takes milliseconds, and larger ones are hardly faster."""
MOST_BATCH = 16


def measurable(shape: Shape) -> Shape:
    """A shape whose rate is that of `shape`: sides in quarters of an octave, the largest halved until a product takes
    little time."""
    sides = [_rounded(side) for side in (*shape[:3], min(shape.batch, MOST_BATCH))]
    while 2.0 * math.prod(sides) > MOST_FLOPS:
        largest = max(range(4), key=lambda place: sides[place])
        sides[largest] = _rounded(sides[largest] // 2)
    return Shape(*sides)


def _rounded(side: int) -> int:
    if side <= 16:
        return max(side, 1)
    quarter = 1 << (side.bit_length() - 3)
    return -(-side // quarter) * quarter


def _between(known: list[tuple[float, float]]) -> float:
    """Of rates, each with its distance: the nearer ones count more, and one that is there is taken."""
    for rate, distance in known:
        if distance == 0:
            return rate
    weights = [distance**-NEARNESS for _, distance in known]
    logarithms = [math.log(rate) for rate, _ in known]
    return math.exp(sum(map(math.prod, zip(weights, logarithms, strict=True))) / sum(weights))


def _distance(one: Shape, other: Shape) -> float:
    """Octaves."""
    return math.dist([math.log2(side) for side in one], [math.log2(side) for side in other])
