"""Which parts of a model's layers have a faster way to be computed, found by trying: a part is taken where on small
random numbers it gives what the model's own code gives."""
# H hidden size

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.kernels.blocked import ACTIVATIONS, Activation, gated, rms_norm, rotated
from tunelab.models.replaced_parts import Replaced, gelus
from tunelab.training.ranks import is_cut

ROTARY = "apply_rotary_pos_emb"
"""The function of transformers' modelling modules that rotates queries and keys."""
RMS_NORMS = ("RMSNorm", "T5LayerNorm")
"""Ends of classes' names."""
CLOSE = 1e-5


def replacements(model: nn.Module) -> list[Replaced]:
    """On a CPU; elsewhere that of GELU alone, which needs no memory of its own."""
    parts = list(model.modules())
    found = gelus(parts)
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return found
    found += [Replaced(part, "forward", partial(_gated_layer, part, act)) for part, act in _gated_layers(parts)]
    found += [Replaced(part, "forward", partial(_norm, part)) for part in _rms_norms(parts)]
    return [*found, *_rotary(parts)]


def _gated_layers(parts: Iterable[nn.Module]) -> list[tuple[Any, Activation]]:
    """Layers that are down(act(gate(x)) * up(x)): their own code is that line and no more."""
    names = {"gate_proj", "up_proj", "down_proj", "act_fn"}
    found = []
    part: Any
    for part in parts:
        if {name for name, _ in part.named_children()} == names and _is_plain(type(part)):
            activation = _activation(part.act_fn)
            found += [(part, activation)] if activation else []
    return found


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether a gated layer's forward pass is the product, by putting other layers in its place."""

    class Stand:
        """Of a layer: numbers that tell the parts apart."""

        def gate_proj(self, x: Tensor) -> Tensor:
            return x + 1.0

        def up_proj(self, x: Tensor) -> Tensor:
            return x * 2.0

        def act_fn(self, x: Tensor) -> Tensor:
            return torch.sin(x)

        def down_proj(self, x: Tensor) -> Tensor:
            return x + 3.0

    x = torch.linspace(-2.0, 2.0, 9)
    try:
        given: Any = kind.forward(Stand(), x)  # pyright: ignore[reportArgumentType]
    except (AttributeError, TypeError):  # it reads more than its parts
        return False
    return isinstance(given, Tensor) and given.equal(torch.sin(x + 1.0) * (x * 2.0) + 3.0)


def _activation(layer: Callable[[Tensor], Tensor]) -> Activation | None:
    x = torch.linspace(-6.0, 6.0, 97)
    return next((each for each in ACTIVATIONS if _same(lambda: layer(x), partial(each, x), exact=1e-6)), None)


def _gated_layer(layer: Any, activation: Activation, x: Tensor) -> Tensor:
    return layer.down_proj(gated(layer.gate_proj(x), layer.up_proj(x), activation))


def _rms_norms(parts: Iterable[nn.Module]) -> list[Any]:
    found = []
    for part in parts:
        weight = getattr(part, "weight", None)
        named = type(part).__name__.endswith(RMS_NORMS) and _eps(part) is not None
        if named and isinstance(weight, Tensor) and not is_cut(weight):  # a rank has a piece of it, and no norm to try
            x = torch.linspace(-1.0, 2.0, 2 * weight.numel()).view(2, -1)
            with torch.no_grad():
                found += [part] if _same(partial(part, x), partial(_norm, part, x)) else []
    return found


def _eps(norm: Any) -> float | None:
    return getattr(norm, "variance_epsilon", getattr(norm, "eps", None))


def _norm(norm: Any, x: Tensor) -> Tensor:
    return rms_norm(x, norm.weight, _eps(norm) or 0.0)


def _rotary(parts: Iterable[nn.Module]) -> list[Replaced]:
    """Of each modelling module that a layer comes from."""
    modules = {name: sys.modules[name] for name in {type(part).__module__ for part in parts} if name in sys.modules}
    alike = [module for module in modules.values() if _rotates_alike(module)]
    return [Replaced(module, ROTARY, partial(_rotate, getattr(module, ROTARY))) for module in alike]


def _rotates_alike(module: ModuleType) -> bool:
    own = getattr(module, ROTARY, None)
    if own is None or list(inspect.signature(own).parameters)[:4] != ["q", "k", "cos", "sin"]:
        return False
    generator = torch.Generator().manual_seed(0)
    q, k, cos, sin = (
        torch.randn(*shape, generator=generator) for shape in ((1, 4, 3, 8), (1, 2, 3, 8), (1, 3, 8), (1, 3, 8))
    )
    theirs, ours = partial(own, q, k, cos, sin), partial(_rotate, own, q, k, cos, sin)
    return _same(lambda: torch.cat(theirs(), dim=1), lambda: torch.cat(ours(), dim=1))


def _rotate(own: Callable[..., Any], q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
    """By the model's own function where a part of each head is rotated."""
    if cos.shape[-1] != q.shape[-1]:
        return own(q, k, cos, sin, unsqueeze_dim)
    return rotated(q, cos, sin, unsqueeze_dim), rotated(k, cos, sin, unsqueeze_dim)


def _same(theirs: Callable[[], Any], ours: Callable[[], Tensor], *, exact: float = CLOSE) -> bool:
    """To that share of the largest."""
    try:
        found, wanted = ours(), theirs()
    except Exception:  # whatever another's code does with numbers that it does not expect: ours is not taken
        return False
    alike = isinstance(wanted, Tensor) and found.shape == wanted.shape
    return alike and float((wanted - found).abs().max()) <= exact * float(found.abs().max())
