"""Which linear layers of a model a method touches, and what those layers look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tunelab.errors import ConfigError
from tunelab.kernels.patterns import matcher
from tunelab.models.fused_parts import choose, ends_with
from tunelab.models.reach import fused_names, matrices, refuse_unseen, remarks

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

READS_OUT_PROJ = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


def is_transposed(layer: nn.Module) -> bool:
    """True for GPT-2's Conv1D, whose weight lies as (in, out)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer, Conv1D)


def is_quantised(layer: nn.Module) -> bool:
    """True for a layer of `models/quantise.py`, which holds codes in place of a float weight."""
    return hasattr(layer, "quantised_weights")


def outputs_and_inputs(layer: Any) -> tuple[int, int]:
    """(O, I) of a linear layer, however its weight is held."""
    if is_quantised(layer):
        return layer.shape
    return tuple(layer.weight.shape)[:: -1 if is_transposed(layer) else 1]


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Every linear layer by module path, quantised or not, the output head left out, and the layers that a Mamba mixer
    does not call but reads the weight of: an adapter of theirs would change nothing."""
    from torch import nn

    head, read = model.get_output_embeddings(), _read_directly(model)
    return {
        name: layer
        for name, layer in model.named_modules()
        if (isinstance(layer, nn.Linear) or is_transposed(layer) or is_quantised(layer))
        and layer is not head
        and name not in read
    }


def _read_directly(model: PreTrainedModel) -> set[str]:
    """`dt_proj` of every such mixer; `out_proj` by its GPU kernels, in the models of which PEFT refuses it too."""
    mixers = [name for name, module in model.named_modules() if hasattr(module, "A_log")]
    kinds = ("dt_proj", "out_proj") if mixers and model.config.model_type in READS_OUT_PROJ else ("dt_proj",)
    return {f"{mixer}.{kind}" for mixer in mixers for kind in kinds}


class Chosen(NamedTuple):
    """A layer that a method touches."""

    layer: nn.Module
    parts: dict[str, slice]
    """Rows by part of a fused layer; empty: the whole layer."""


def select(
    model: PreTrainedModel, targets: str | tuple[str, ...], *, left_out: str | None = "stay frozen"
) -> dict[str, nn.Module]:
    """The layers that `targets` means, for a method that takes whole layers only.

    Raises:
        ConfigError: as `select_parts`; or a part of a fused layer is named.
    """
    chosen = select_parts(model, targets, left_out=left_out)
    for name, (_, parts) in chosen.items():
        if parts:
            leaf = name.rpartition(".")[2]
            rule = f"only lora and qlora adapt parts; name {leaf} as a whole"
            raise ConfigError(f"targets: '{leaf}.{next(iter(parts))}' is a part of {leaf}, and {rule}")
    return {name: layer for name, (layer, _) in chosen.items()}


def select_parts(
    model: PreTrainedModel, targets: str | tuple[str, ...], *, left_out: str | None = "stay frozen"
) -> dict[str, Chosen]:
    """The layers that `targets` means, whole or in part.

    `all-linear`; `attention` (layers below a module named attention or attn); a tuple of names, each the end of a
    module path at a dot, with a part behind it where only that is meant (`c_attn.q`, models/fused_parts.py); any other
    string is a regular expression that must match a whole module path.

    Args:
        left_out: what becomes of weights outside every linear layer; None: they are trained as well as the others.

    Raises:
        ConfigError: nothing matches; names the layers that exist. Or `all-linear` where a large part of the weights is
            in no linear layer (fused experts) and would be left out.
    """
    layers = linear_layers(model)
    if targets == "all-linear" and left_out is not None:
        refuse_unseen(matrices(model, layers.values()), left_out=left_out)
    shapes = {name: outputs_and_inputs(layer) for name, layer in layers.items()}
    config = {} if isinstance(targets, str) else model.config.to_dict()  # parts are named in lists alone
    named = named_layers(shapes, targets, config)
    return {name: Chosen(layers[name], parts) for name, parts in named.items()}


def named_layers(
    shapes: Mapping[str, tuple[int, int]], targets: str | tuple[str, ...], config: Mapping[str, Any]
) -> dict[str, dict[str, slice]]:
    """The same by names alone, without a framework: module path -> rows by part, none for a whole layer.

    Args:
        shapes: (O, I) of every linear layer by module path.
        config: the model's, as config.json has it.
    """
    if not isinstance(targets, str):
        named = choose(config, {name: outputs for name, (outputs, _) in shapes.items()}, targets)
    else:
        rule = {"all-linear": bool, "attention": ATTENTION.search}.get(targets) or matcher("targets", targets)
        # a row of weights (Qwen-MoE's gate of the shared expert) has no rank to choose
        named = {name: {} for name, shape in shapes.items() if min(shape) > 1 and rule(name)}
    if not named:
        raise ConfigError(f"targets: '{targets}' matches no linear layer; there are {leaf_names(shapes)}")
    return named


def reach_remarks(
    model: PreTrainedModel, does: dict[str, str | tuple[str, ...]], *, parameters: tuple[str, ...] = ()
) -> list[str]:
    """`Method.remarks` of a method that does something with targets ('adapts' -> 'attention'), and with parameters
    whose paths end so; none where linear layers are all that there is."""
    found = matrices(model, linear_layers(model).values()).without({name.rpartition(".")[2] for name in parameters})
    named = sum(size for path, size in found.others.items() if any(ends_with(path, name) for name in parameters))
    numbers = {}
    for what, targets in does.items():
        chosen = select_parts(model, targets, left_out=None).values()
        numbers[what] = named + sum(map(_num_weights, chosen))
    return remarks(found, numbers)


def check_parameters(model: PreTrainedModel, parameters: tuple[str, ...]) -> None:
    """
    Raises:
        ConfigError: one of them is the end of no parameter's path, which PEFT does not say if others are.
    """
    paths = [path for path, _ in model.named_parameters()]
    for name in parameters:
        if not any(ends_with(path, name) for path in paths):
            there = ", ".join(fused_names(matrices(model, linear_layers(model).values()))) or "none"
            raise ConfigError(f"target_parameters: no parameter's path ends in '{name}'; fused ones here: {there}")


def check_rank(rank: int, layers: Mapping[str, nn.Module]) -> None:
    """
    Raises:
        ConfigError: the rank is larger than one of the matrices.
    """
    for name, layer in layers.items():
        sizes = outputs_and_inputs(layer) if is_quantised(layer) else layer.get_parameter("weight").shape
        if rank > min(sizes):
            raise ConfigError(f"rank: {rank} is larger than the matrix of {name} ({' x '.join(map(str, sizes))})")


def leaf_names(layers: Iterable[str]) -> str:
    """'q_proj, k_proj, ...' for an error message."""
    return ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in layers))


def _num_weights(chosen: Chosen) -> int:
    outputs, inputs = outputs_and_inputs(chosen.layer)
    return (sum(rows.stop - rows.start for rows in chosen.parts.values()) or outputs) * inputs
