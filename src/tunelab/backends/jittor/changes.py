"""What a method trains of an architecture, and how many values that is."""

from __future__ import annotations

import math

from tunelab.backends.jittor.architecture import Architecture, linear_layers, shapes
from tunelab.contracts import Method
from tunelab.errors import ConfigError
from tunelab.records import LowRank, ParameterCount


def factors_of(each: Architecture, method: Method) -> dict[str, tuple[LowRank, ...]] | None:
    """By module path; None: the model's own weights are trained.

    Raises:
        ConfigError: options that do not fit the model, or that this back end has not.
    """
    if method.optimizer_kind != "adamw":
        raise ConfigError(f"optimizer: {method.optimizer_kind} needs torch; jittor has adamw")
    return method.low_rank(linear_layers(each), {"model_type": each.kind})


def count_changes(each: Architecture, method: Method | None) -> ParameterCount:
    """As Backend.count."""
    base = sum(math.prod(shape) for shape in shapes(each).values())
    if method is None:
        return ParameterCount(0, base, reached=0)
    factors = factors_of(each, method)
    if factors is None:
        return ParameterCount(base, base, reached=base)
    sizes = [(one.rank, one.rows.stop - one.rows.start, one.inputs) for of in factors.values() for one in of]
    added = sum(rank * (outputs + inputs) for rank, outputs, inputs in sizes)
    return ParameterCount(added, base + added, reached=sum(outputs * inputs for _, outputs, inputs in sizes))
