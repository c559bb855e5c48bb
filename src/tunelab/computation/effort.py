"""What work is made of, whichever device does it: products, passes over numbers, and calls."""
# N rows, I inputs, O outputs of a product

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

Function = Literal["move", "silu", "gelu", "exp", "softmax", "norm", "cast", "draw", "quantise"]
"""What an operation does to each number: some of them are bound by arithmetic and not by memory."""


class Shape(NamedTuple):
    """x (N, I) times the transpose of W (O, I)."""

    rows: int
    inputs: int
    outputs: int
    batch: int = 1
    """So many of them in one call."""

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.inputs * self.outputs * self.batch


class Product(NamedTuple):
    dtype: str
    """fp32, bf16 or fp16."""
    shape: Shape


class Pass(NamedTuple):
    """An operation over numbers, one by one."""

    function: Function
    dtype: str
    octave: int
    """Of the bytes that one of them reads and writes: the power of two below."""
    fixed: bool
    """It follows from the weights alone, however many tokens there are."""


class Effort(NamedTuple):
    """Of operations one after the other."""

    products: tuple[tuple[Product, int], ...] = ()
    """And how often each is made."""
    passes: tuple[tuple[Pass, int], ...] = ()
    """And the bytes that they read and write."""
    operations: int = 0
    """Calls of the framework, views among them."""
    modules: int = 0
    """Calls of layers, which Python and autograd make dearer."""

    @property
    def flops(self) -> float:
        """Of products."""
        return sum(product.shape.flops * times for product, times in self.products)

    @property
    def num_bytes(self) -> int:
        """Of passes."""
        return sum(size for _, size in self.passes)


def sum_of(efforts: Iterable[Effort]) -> Effort:
    """One after the other."""
    products, passes, operations, modules = Counter[Product](), Counter[Pass](), 0, 0
    for each in efforts:
        products.update(dict(each.products))
        passes.update(dict(each.passes))
        operations += each.operations
        modules += each.modules
    return Effort(tuple(sorted(products.items())), tuple(sorted(passes.items())), operations, modules)


def extended(low: Effort, high: Effort, line: Callable[[int, int], int]) -> Effort:
    """Every number by the line through two of them."""

    def counts(few: Iterable[tuple[Any, int]], many: Iterable[tuple[Any, int]]) -> tuple[tuple[Any, int], ...]:
        one, other = dict(few), dict(many)
        found = {each: line(one.get(each, 0), other.get(each, 0)) for each in one | other}
        return tuple(sorted((each, number) for each, number in found.items() if number))

    return Effort(
        counts(low.products, high.products),
        counts(low.passes, high.passes),
        line(low.operations, high.operations),
        line(low.modules, high.modules),
    )


def narrowed(effort: Effort, share: float) -> Effort:
    """The same of so many of the tokens, made at once: products of fewer rows, passes over fewer numbers."""
    products = [
        (Product(each.dtype, each.shape._replace(rows=max(1, round(each.shape.rows * share)))), times)
        for each, times in effort.products
    ]
    passes = [(each, size if each.fixed else round(size * share)) for each, size in effort.passes]
    return Effort(tuple(products), tuple(passes), effort.operations, effort.modules)
