"""Numbers as a reader sees them. A missing value is an en dash, everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

MISSING = "–"


class Unit(NamedTuple):
    """A unit that fits a whole column, so that its cells can be compared at a glance."""

    name: str
    size: float
    decimals: int


def number(value: float | None, decimals: int) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    # Adding 0.0 turns the -0.0 that a small negative is rounded to into 0.0.
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def in_unit(value: float | None, unit: Unit) -> str:
    return number(None if value is None else value / unit.size, unit.decimals)


def score_decimals(values: Iterable[float | None]) -> int:
    """One for a 0-100 scale, three for a 0-1 scale."""
    largest = max((abs(value) for value in _known(values)), default=1.0)
    return 1 if largest >= 20 else 2 if largest > 1.5 else 3


def interval(mean: float | None, low: float | None, high: float | None, decimals: int) -> str:
    """'0.712 [0.690, 0.733]'."""
    text = number(mean, decimals)
    return text if low is None or high is None else f"{text} {bounds(low, high, decimals)}"


def bounds(low: float | None, high: float | None, decimals: int) -> str:
    return "" if low is None or high is None else f"[{number(low, decimals)}, {number(high, decimals)}]"


def time_unit(seconds: Iterable[float | None]) -> Unit:
    known = _known(seconds)
    longest, shortest = max(known, default=0.0), min(known, default=0.0)
    size, name = (3600.0, "h") if longest >= 3 * 3600 else (60.0, "min") if longest >= 600 else (1.0, "s")
    return Unit(name, size, 0 if shortest / size >= 100 else 1 if shortest / size >= 10 else 2)


def memory_unit(gib: Iterable[float | None]) -> Unit:
    largest = max(_known(gib), default=0.0)
    size, name = (1.0, "GiB") if largest >= 1 else (1 / 1024, "MiB")
    return Unit(name, size, 2 if name == "GiB" else 0)


def three_digits(value: float | None) -> str:
    """For a column over orders of magnitude: '0.23', '19.1', '3,814'."""
    if value is None:
        return MISSING
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def significant(value: float | None) -> str:
    """Three digits, of small values too: '0.000412', '7.31', '1,250'."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def duration(seconds: float | None) -> str:
    """A lone duration, outside a column."""
    return MISSING if seconds is None else f"{in_unit(seconds, time_unit([seconds]))} {time_unit([seconds]).name}"


def memory(gib: float | None) -> str:
    """A lone amount of memory, outside a column."""
    return MISSING if gib is None else f"{in_unit(gib, memory_unit([gib]))} {memory_unit([gib]).name}"


def count(value: float | None) -> str:
    """Three digits: 950 -> '950'; 60_000 -> '60.0 K'; 2_500_000 -> '2.50 M'."""
    if value is None:
        return MISSING
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        scaled = value / size
        if scaled >= 0.9995:  # what would be rounded to 1000 goes to the next letter
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {letter}"
    return f"{value:.0f}"


def percent(part: float | None, whole: float | None) -> str:
    if part is None or not whole:
        return MISSING
    share = 100 * part / whole
    return f"{share:.3g} %" if share < 100 else "100 %"


def rate(value: float | None) -> str:
    """A learning rate, short and exact, with a hyphen so that it can be copied into a study: '3e-4'."""
    if value is None:
        return MISSING
    mantissa, exponent = f"{value:e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def setting_text(values: Mapping[str, str]) -> str:
    """'rank=8, alpha=16'."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def times(larger: float, smaller: float) -> str:
    """'1.9x'; from ten on without decimals."""
    ratio = larger / smaller
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]
