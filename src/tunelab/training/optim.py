"""One optimizer rule for every method: AdamW with one learning rate, and one rule for what decays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tunelab.config.schema import Optimizer
from tunelab.contracts import Updater


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter, tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def groups(parameters: dict[str, nn.Parameter], *, weight_decay: float) -> list[dict[str, Any]]:
    """The one rule: matrices (two dimensions or more) decay, biases and norms never."""
    matrices = [name for name, parameter in parameters.items() if parameter.ndim >= 2]
    vectors = [name for name, parameter in parameters.items() if parameter.ndim < 2]
    named = [("matrices", matrices, weight_decay), ("vectors", vectors, 0.0)]
    return [
        {"name": name, "params": [parameters[key] for key in keys], "weight_decay": decay}
        for name, keys, decay in named
        if keys
    ]


class AdamW(Updater):
    """Decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), torch's fused kernel."""

    def __init__(self, model: nn.Module, rule: Optimizer) -> None:
        self.parameters = trained_parameters(model)
        self.optimizer = torch.optim.AdamW(
            groups(self.parameters, weight_decay=rule.weight_decay), lr=0.0, betas=rule.betas, eps=rule.eps, fused=True
        )

    def gradient_norm(self) -> float:
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        return float(nn.utils.get_total_norm(gradients))

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        if max_norm is not None:
            nn.utils.clip_grad_norm_(list(self.parameters.values()), max_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            name, field = key.rsplit(".", 1)
            parameter = self.parameters[name]
            self.optimizer.state[parameter][field] = value.to(parameter.device, copy=True)

    def describe(self) -> list[dict[str, Any]]:
        return [
            {
                "optimizer": type(self.optimizer).__name__,
                "group": group["name"],
                "parameters": sum(parameter.numel() for parameter in group["params"]),
                "weight_decay": group["weight_decay"],
                "betas": list(group["betas"]),
                "eps": group["eps"],
            }
            for group in self.optimizer.param_groups
        ]
