"""Parameters in bf16, each moved by an optimizer of its own over an fp32 stand-in, one after the other: beside weights,
gradients and what optimizers remember only one parameter is there in fp32 at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunelab.training.inner.low_rank import LowRankOptimizer
from tunelab.training.inner.optimizers import particulars, plain
from tunelab.training.narrow.rounding import HELD, round_into

NUM_UPDATES = "rounding.num_updates"
"""In the saved state: what the next draws depend on."""


class One(NamedTuple):
    parameter: nn.Parameter
    key: int
    """Of its draws."""
    low: LowRankOptimizer
    group: dict[str, Any]


class NarrowUpdates:
    """Empty where no parameter is in bf16."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        names: Mapping[nn.Parameter, str],
        *,
        make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        key_of: Callable[[str], int],
    ) -> None:
        """`make` gives the optimizer of one parameter from its group."""
        self.num_updates = 0
        self.ones = {
            names[parameter]: One(parameter, key_of(names[parameter]), _stand_in(parameter, group, make), group)
            for group in groups
            for parameter in group["params"]
        }

    def update(self, *, learning_rate: float) -> None:
        """Each parameter that has a gradient, which is forgotten."""
        self.num_updates += 1
        for one in self.ones.values():
            parameter = one.parameter
            if parameter.grad is None:
                continue
            one.low.stand_in.grad = parameter.grad.float()
            parameter.grad = None
            one.low.step(
                learning_rate=learning_rate * one.group["rate"],
                start=parameter.detach(),
                use=lambda wide, one=one: round_into(
                    one.parameter.detach(), wide, key=one.key, number=self.num_updates
                ),
            )

    def drop_state(self, parameter: nn.Parameter) -> None:
        for one in self.ones.values():
            if one.parameter is parameter:
                one.low.inner.state.pop(one.low.stand_in, None)

    def state(self) -> dict[str, Tensor]:
        if not self.ones:
            return {}
        found = {key: value for name, one in self.ones.items() for key, value in one.low.state(name).items()}
        return {**found, NUM_UPDATES: torch.tensor(self.num_updates)}

    def load_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Takes its own out of what `state` gave; returns the rest."""
        rest, own = dict(state), {}
        self.num_updates = int(rest.pop(NUM_UPDATES, 0))
        for key in state:
            name = key.rpartition(".")[0]
            if name in self.ones and key in rest:
                own.setdefault(name, {})[key] = rest.pop(key)
        for name, fields in own.items():
            self.ones[name].low.load_state(fields, name)
        return rest

    def describe(self) -> list[dict[str, Any]]:
        """One entry a group."""
        found: dict[int, list[One]] = {}
        for one in self.ones.values():
            found.setdefault(id(one.group), []).append(one)
        return [
            {
                "optimizer": type(ones[0].low.inner).__name__,
                "group": ones[0].group["name"],
                "parameters": sum(one.parameter.numel() for one in ones),
                **settings(ones[0].low.inner, ones[0].low.inner.param_groups[0]),
                "weights": HELD,
            }
            for ones in found.values()
        ]


def settings(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """A group's effective ones, read back."""
    keys = ("weight_decay", "betas", "beta2_decay", "eps", "d")
    return {key: plain(group[key]) for key in keys if key in group} | particulars(optimizer, group)


def _stand_in(parameter: nn.Parameter, group: dict[str, Any], make: Any) -> LowRankOptimizer:
    own = {key: value for key, value in group.items() if key != "params"}
    return LowRankOptimizer(
        tuple(parameter.shape),
        dtype=torch.float32,
        device=parameter.device,
        inner=lambda tensors: make([{**own, "params": tensors}]),
    )
