"""Parts of a model hidden for a while: a method then finds, adapts, saves and updates only what it can see."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Hidden(nn.Module):
    """Stands for a layer that computes as before and is no submodule: it has no parameters and is no linear layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__["layer"] = layer

    @property
    def weight(self) -> Any:
        """Some models read its dtype."""
        return self.__dict__["layer"].weight

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.__dict__["layer"](*inputs)


@contextmanager
def hidden(model: PreTrainedModel, layers: Collection[str]) -> Iterator[None]:
    """Hide the modules at these paths of `model`; they are back at the end."""
    kept = {name: model.get_submodule(name) for name in layers}
    for name, layer in kept.items():
        model.set_submodule(name, Hidden(layer))
    try:
        yield
    finally:
        for name, layer in kept.items():
            model.set_submodule(name, layer)


def reveal(model: PreTrainedModel) -> PreTrainedModel:
    """Put back what is hidden in a copy that was made meanwhile; returns the model."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Hidden):
            model.set_submodule(name, module.__dict__["layer"])
    return model


@contextmanager
def frozen_but(model: PreTrainedModel, layers: Collection[str]) -> Iterator[None]:
    """What is visible outside these layers counts as frozen; at the end it is as it was."""
    held = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not lies_in(name, layers)
    ]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def lies_in(name: str, layers: Collection[str]) -> bool:
    """Whether a parameter's name is that of one of these layers."""
    return any(name.startswith(f"{layer}.") for layer in layers)
