"""Rates of one machine's products and copies, and between the shapes that were measured."""
# N rows, I inputs, O outputs

from __future__ import annotations

import math
from typing import NamedTuple

from tunelab.config.schema import Products
from tunelab.records import Record

NEARNESS = 4
"""How much more a shape counts that is nearer: its weight is its distance to the power of -4."""


class Shape(NamedTuple):
    """x (N, I) times the transpose of W (O, I)."""

    rows: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.inputs * self.outputs


class ProductRate(Record):
    """Of one shape in one type, by its best sample."""

    shape: Shape
    dtype: Products
    flops_per_second: float

    @property
    def name(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def giga(self) -> float:
        """GFLOP/s."""
        return self.flops_per_second / 1e9


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
    bytes_per_second: float
    """Read and written together, of a copy."""
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

    def rate(self, shape: Shape, dtype: Products) -> float:
        """FLOP/s: as measured, else between the measured shapes, the nearer ones counting more. Distances and rates are
        taken in their logarithms, so it is never above or below all that was measured."""
        known = [(product, _distance(product.shape, shape)) for product in self.products if product.dtype == dtype]
        assert known, f"{dtype} was not measured"
        for product, distance in known:
            if distance == 0:
                return product.flops_per_second
        weights = [distance**-NEARNESS for _, distance in known]
        logarithms = [math.log(product.flops_per_second) for product, _ in known]
        return math.exp(sum(map(math.prod, zip(weights, logarithms, strict=True))) / sum(weights))


def _distance(one: Shape, other: Shape) -> float:
    """Octaves."""
    return math.dist([math.log2(side) for side in one], [math.log2(side) for side in other])
