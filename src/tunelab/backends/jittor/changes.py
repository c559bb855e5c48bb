"""What a method trains of an architecture: which layers get factors, of which rank, and how many values that is."""
# I = in features, O = out features, R = rank

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from tunelab.backends.jittor.architecture import Architecture, linear_layers, shapes
from tunelab.contracts import Method
from tunelab.errors import ConfigError
from tunelab.kernels.patterns import check_patterns, for_layer, for_part
from tunelab.models.fused_parts import choose
from tunelab.models.targets import ATTENTION
from tunelab.records import ParameterCount

if TYPE_CHECKING:
    from tunelab.methods.lora import Lora


class Factors(NamedTuple):
    """One A (R, I) and one B (rows, R) of a linear layer."""

    name: str
    """Their parameters are `name`.lora_A and `name`.lora_B: a module path, with the part of a fused layer behind it."""
    rows: slice
    """Of the layer's outputs."""
    inputs: int
    rank: int
    scale: float

    @property
    def num_rows(self) -> int:
        return self.rows.stop - self.rows.start


def lora_factors(each: Architecture, method: Lora) -> dict[str, tuple[Factors, ...]]:
    """By module path.

    Raises:
        ConfigError: options that this back end has not, or that do not fit the model.
    """
    if method.init != "default":
        raise ConfigError(f"init: {method.init} needs torch; jittor starts with init: default")
    layers = linear_layers(each)
    chosen = _select(each, layers, method.targets)
    parts = [f"{path}.{part}" for path, of in chosen.items() for part in of]
    check_patterns("ranks", method.ranks, chosen, parts)
    check_patterns("alphas", method.alphas, chosen, parts)
    return {path: tuple(_factors_of(path, of, layers[path], method)) for path, of in chosen.items()}


def _select(
    each: Architecture, layers: dict[str, tuple[int, int]], targets: str | tuple[str, ...]
) -> dict[str, dict[str, slice]]:
    """Module path -> the parts that are named; none: the whole layer."""
    if not isinstance(targets, str):
        return choose({"model_type": each.kind}, {path: outputs for path, (outputs, _) in layers.items()}, targets)
    if targets == "all-linear":
        return {path: {} for path in layers}
    rule = ATTENTION.search if targets == "attention" else re.compile(targets).fullmatch
    if chosen := {path: {} for path in layers if rule(path)}:
        return chosen
    there = ", ".join(dict.fromkeys(path.rpartition(".")[2] for path in layers))
    raise ConfigError(f"targets: '{targets}' matches no linear layer; there are {there}")


def _factors_of(path: str, parts: dict[str, slice], shape: tuple[int, int], method: Lora) -> list[Factors]:
    outputs, inputs = shape
    found = []
    for part, rows in parts.items() or [("", slice(0, outputs))]:
        name = f"{path}.{part}" if part else path
        rank, alpha = for_layer(method.ranks, path, method.rank), for_layer(method.alphas, path, method.alpha)
        if part:
            rank, alpha = for_part(method.ranks, path, part, rank), for_part(method.alphas, path, part, alpha)
        size = rows.stop - rows.start
        if rank > min(size, inputs):
            raise ConfigError(f"rank: {rank} is larger than the matrix of {name} ({size} x {inputs})")
        scale = alpha / (math.sqrt(rank) if method.scaling == "rslora" else rank)
        found.append(Factors(name, rows, inputs, rank, scale))
    return found


def check_full(method: Method) -> None:
    """
    Raises:
        ConfigError: an optimizer that this back end has not.
    """
    if method.optimizer_kind != "adamw":
        raise ConfigError(f"optimizer: {method.optimizer_kind} needs torch; jittor has adamw")


def count_changes(each: Architecture, method: Method | None) -> ParameterCount:
    """As Backend.count."""
    from tunelab.methods.lora import Lora

    base = sum(math.prod(shape) for shape in shapes(each).values())
    if method is None:
        return ParameterCount(0, base, reached=0)
    if not isinstance(method, Lora):
        check_full(method)
        return ParameterCount(base, base, reached=base)
    factors = [one for of in lora_factors(each, method).values() for one in of]
    added = sum(one.rank * (one.num_rows + one.inputs) for one in factors)
    return ParameterCount(added, base + added, reached=sum(one.num_rows * one.inputs for one in factors))
