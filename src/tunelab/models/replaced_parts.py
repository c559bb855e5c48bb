"""Parts of a model that compute the same in less time, put in their place and taken away again.

Attention through transformers' registry of attention functions, only where the model's is `sdpa`; a model whose layers
do not ask the registry goes on as it was. GELU's tanh form, which transformers writes as eight operations, as torch's
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class NotReplaced(Exception):
    """This model cannot compute with the other one; the message says why."""


class ReplacedAttention:
    def __init__(
        self, parts: Iterable[nn.Module], name: str, attention: Callable[..., Any], mask: Callable[..., Any]
    ) -> None:
        """Of a model with these modules. `name`: of the two functions in the registry."""
        from transformers import AttentionInterface, AttentionMaskInterface

        self.name = name
        configs = {id(one): one for part in parts if (one := getattr(part, "config", None)) is not None}
        self.configs: list[Any] = [
            one for one in configs.values() if getattr(one, "_attn_implementation", None) == "sdpa"
        ]
        if self.configs:
            AttentionInterface.register(name, attention)
            AttentionMaskInterface.register(name, mask)

    def __bool__(self) -> bool:
        """Whether any attention would be another one."""
        return bool(self.configs)

    def put(self) -> None:
        for config in self.configs:
            config._attn_implementation = self.name

    def take_away(self) -> None:
        for config in self.configs:
            config._attn_implementation = "sdpa"


class Replaced(NamedTuple):
    """An attribute of an object, and what stands there meanwhile."""

    owner: Any
    name: str
    value: Callable[..., Any]


class ReplacedParts:
    def __init__(self, found: Sequence[Replaced]) -> None:
        self.found = found
        self._own: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def put(self) -> None:
        self._own = [vars(owner).get(name) for owner, name, _ in self.found]
        for owner, name, value in self.found:
            setattr(owner, name, value)

    def take_away(self) -> None:
        for (owner, name, _), own in zip(self.found, self._own, strict=True):
            if own is None:  # it had that of its class
                delattr(owner, name)
            else:
                setattr(owner, name, own)


def gelus(parts: Iterable[nn.Module]) -> list[Replaced]:
    return [Replaced(part, "forward", _gelu_tanh) for part in parts if type(part).__name__ == "NewGELUActivation"]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")
