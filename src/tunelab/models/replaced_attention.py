"""Another attention function in a model, through transformers' registry of them, put in and taken away again.

Only where the model's is `sdpa`. A model whose layers do not ask the registry goes on as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


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
