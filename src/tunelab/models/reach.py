"""How much of a model a method reaches: matrices outside every linear layer, and what an attached method changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tunelab.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

LEAST_SEEN = 0.9
"""Of a model's matrices; where `all-linear` sees less, somebody who writes it would be wrong about what is tuned."""
NOT_COUNTED = "embeddings, output head, norms and biases not counted"


class Matrices(NamedTuple):
    """Weights that multiply something: parameters of two dimensions or more, those of embeddings and of the output
    head left out."""

    linear: int
    """How many are in linear layers."""
    others: dict[str, int]
    """Parameter path -> how many, of what lies in no linear layer: fused experts, routers, convolutions, A_log."""
    kinds: dict[str, int]
    """The same by kind: 'gate_up_proj, down_proj of MixtralExperts' -> how many."""

    @property
    def total(self) -> int:
        return self.linear + sum(self.others.values())

    def without(self, names: set[str]) -> Matrices:
        """Not telling of kinds whose parameters all have such a name: the method reaches them."""
        kept = {kind: each for kind, each in self.kinds.items() if not set(kind.split(" of ")[0].split(", ")) <= names}
        return self._replace(kinds=kept)

    def others_said(self) -> str:
        """'98,304 in gate_up_proj, down_proj of MixtralExperts and 512 in weight of MixtralTopKRouter'"""
        return " and ".join(f"{number:,} in {kind}" for kind, number in self.kinds.items())


def matrices(model: PreTrainedModel, layers: Iterable[nn.Module]) -> Matrices:
    """`layers`: the model's linear layers, quantised ones included."""
    from torch import nn

    layers, linear = list(layers), 0
    known = {parameter for layer in layers for parameter in layer.parameters()}
    for layer in layers:
        weight: Any = getattr(layer, "weight", None)
        linear += getattr(layer, "quantised_weights", 0) if weight is None else weight.numel()
    head = model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, nn.Embedding) or module is head:
            known |= set(module.parameters())
    others: dict[str, int] = {}
    names: dict[str, dict[str, int]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in known or sum(size > 1 for size in parameter.shape) < 2:
                continue
            known.add(parameter)
            others[f"{path}.{name}"] = parameter.numel()
            of_kind = names.setdefault(type(module).__name__, {})
            of_kind[name] = of_kind.get(name, 0) + parameter.numel()
    kinds = {f"{', '.join(sorted(each, key=lambda name: -each[name]))} of {kind}": each for kind, each in names.items()}
    sizes = {kind: sum(each.values()) for kind, each in kinds.items()}
    return Matrices(linear, others, dict(sorted(sizes.items(), key=lambda item: -item[1])))


def refuse_unseen(found: Matrices, *, left_out: str) -> None:
    """
    Args:
        left_out: what would become of the matrices that are in no linear layer.

    Raises:
        ConfigError: linear layers have less than LEAST_SEEN of the matrices.
    """
    if not found.others or found.linear >= LEAST_SEEN * found.total:
        return
    fused = fused_names(found)
    by_peft = f", peft_any {{type: LORA, target_parameters: [{', '.join(fused)}]}}" if fused else ""
    raise ConfigError(
        f"targets: all-linear sees {_share(found.linear, found)} of this model's {found.total:,} weights "
        f"({NOT_COUNTED}); {found.others_said()} are in no linear layer that the model calls, and would {left_out}. If "
        "that is meant say `targets: attention`, or '.*' for every linear layer; what reaches them: full, galore, "
        f"apollo, lisa{by_peft}"
    )


def fused_names(found: Matrices) -> list[str]:
    """Of fused experts' parameters, the ends of paths that all blocks share: what PEFT's target_parameters takes."""
    fused = (path for path in found.others if "experts." in path and not path.endswith(("bias", ".weight")))
    return list(dict.fromkeys(re.sub(r"^(.*\.)?\d+\.", "", path) for path in fused))


def remarks(found: Matrices, does: dict[str, int]) -> list[str]:
    """What is in no linear layer, and what a method does with how many of the matrices; else nothing."""
    if not found.kinds:
        return []
    done = [f"{what} {_share(number, found)}" for what, number in does.items()]
    unseen = f"all-linear does not see {found.others_said()}, which are in no linear layer that the model calls"
    return [unseen, *([f"{' and '.join(done)} of {found.total:,} weights ({NOT_COUNTED})"] if done else [])]


def _share(number: int, found: Matrices) -> str:
    percent = 100 * number / found.total
    return f"{number:,} ({percent if number == found.total else min(percent, 99.9):.3g} %)"


# ------------------------------------------------------------------ of an attached method


class Base(NamedTuple):
    """A base model's parameters before anything is attached, each once."""

    sizes: tuple[int, ...]
    names: tuple[tuple[str, ...], ...]
    """All paths of each: tied ones have several."""


def base_of(model: nn.Module) -> Base:
    paths: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        paths.setdefault(parameter, []).append(name)
    return Base(tuple(parameter.numel() for parameter in paths), tuple(map(tuple, paths.values())))


class Rows(NamedTuple):
    """So many rows of a parameter: `last` is beyond them, `of` is how many there are."""

    first: int
    last: int
    of: int


WHOLE = Rows(0, 1, 1)
Reached = dict[int, frozenset[Rows]]
"""Position in a base -> which of its rows, runs that do not overlap; WHOLE among them: all."""


def reached(base: Base, attached: nn.Module) -> Reached:
    """The parameters that an attached method trains or adapts; a weight with an adapter beside it is reached as a
    whole, a fused one by the rows of the parts that are adapted."""
    found = {}
    for position, names in enumerate(base.names):
        if rows := frozenset[Rows]().union(*(_rows_reached(attached, name) for name in names)):
            found[position] = rows
    return found


def reached_together(several: Iterable[Reached]) -> Reached:
    found: Reached = {}
    for each in several:
        found |= {position: found.get(position, frozenset()) | rows for position, rows in each.items()}
    return found


def num_reached(base: Base, found: Reached) -> int:
    number = 0
    for position, rows in found.items():
        runs = [WHOLE] if WHOLE in rows else rows
        number += sum(base.sizes[position] * (last - first) // of for first, last, of in runs)
    return number


def _rows_reached(attached: nn.Module, path: str) -> frozenset[Rows]:
    *modules, name = path.split(".")
    module: Any = attached
    for step in modules:
        while not hasattr(module, step):
            module = inner(module)
        module = getattr(module, step)
    for layer in _layers_of(module):
        own = layer._parameters.get(name)
        if own is not None:
            if own.requires_grad:
                return frozenset({WHOLE})
        elif getattr(layer, "parameter_name", name) == name and _changes(layer, name):
            runs = getattr(layer, "rows_changed", None)
            of = 0 if runs is None else layer.shape[0]
            return frozenset({WHOLE} if runs is None else (Rows(run.start, run.stop, of) for run in runs))
    return frozenset()


def _layers_of(module: Any) -> Iterator[Any]:
    """A module and what it wraps, from outside inward."""
    while module is not None:
        yield module
        module = inner(module)


def inner(module: Any) -> Any:
    """What an adapter wraps: PEFT calls it base_layer or original_module, layers of ours base."""
    names = ("base_layer", "base", "original_module")
    return next((module._modules[name] for name in names if module._modules.get(name) is not None), None)


def _changes(layer: Any, name: str) -> bool:
    """Whether a layer that is no plain one changes its base's parameter of that name."""
    if getattr(layer, "trains_codes", False):
        return name == "weight"
    if inner(layer) is None:
        return False
    wrapped = {id(parameter) for parameter in inner(layer).parameters()}
    own = {key: value for key, value in layer.named_parameters() if value.requires_grad and id(value) not in wrapped}
    return bool(own) and (name != "bias" or any(key.endswith("bias") for key in own))
