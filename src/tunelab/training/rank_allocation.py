"""The shared rule for a tuner that moves its rank budget between layers while it trains (Zhang et al. 2023,
arXiv:2303.10512): a penalty that keeps factors orthogonal, and a re-allocation after each update, both PEFT's.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from tunelab.backend_contract import Updater
from tunelab.training.optim import SharedRule

AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""PEFT's importance of each value: the last one, and its running mean and uncertainty."""
_STEP, _RANKS = "allocation.step", "allocation.rank_pattern"


class RankAllocation(Updater):
    """`tuner` is PEFT's AdaLoraModel: it has `rankallocator`, `update_and_allocate(step)` and a config."""

    def __init__(self, shared: SharedRule, tuner: Any, *, adapter: str) -> None:
        self.shared, self.tuner, self.step = shared, tuner, 0
        self._has_penalty = False
        self.config = tuner.peft_config[adapter]
        self.factors = {
            name: parameter
            for name, parameter in shared.parameters.items()
            if f".lora_A.{adapter}" in name or f".lora_B.{adapter}" in name
        }

    def before_backward(self, *, last: bool) -> None:
        self.shared.before_backward(last=last)
        self._has_penalty = False

    def _add_penalty(self) -> None:
        """Its gradient enters once a step and when all else is there: neither how the step is cut nor a loss scale
        counts."""
        if self.config.orth_reg_weight and not self._has_penalty:
            (self.config.orth_reg_weight * self.penalty()).backward()
        self._has_penalty = True

    def penalty(self) -> Tensor:
        """Mean over all A and B of the Frobenius norm of A A^T - I and B^T B - I, as AdaLoraModel.forward adds it."""
        norms = []
        for name, parameter in self.factors.items():
            gram_RR = parameter @ parameter.T if ".lora_A." in name else parameter.T @ parameter
            norms.append((gram_RR - torch.eye(len(gram_RR), device=gram_RR.device)).norm())
        return torch.stack(norms).mean()

    def gradient_norm(self) -> Tensor:
        self._add_penalty()
        return self.shared.gradient_norm()

    def gradients(self) -> list[Tensor]:
        return self.shared.gradients()

    def forget(self) -> None:
        self.shared.forget()

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self._add_penalty()
        gradients = {name: parameter.grad for name, parameter in self.shared.parameters.items()}
        self.shared.update(learning_rate=learning_rate, max_norm=max_norm)
        for name, parameter in self.shared.parameters.items():
            parameter.grad = gradients[name]  # importance is |value * gradient|, taken after the update
        self.step += 1
        self.tuner.update_and_allocate(self.step)
        for parameter in self.shared.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        allocator = self.tuner.rankallocator
        averages = {
            f"allocation.{kind}.{name}": value for kind in AVERAGES for name, value in getattr(allocator, kind).items()
        }
        ranks = json.dumps(self.config.rank_pattern).encode()
        counts = {
            _STEP: torch.tensor(self.step),
            _RANKS: torch.frombuffer(bytearray(ranks), dtype=torch.uint8),
        }
        return {**self.shared.state(), **averages, **counts}

    def load_state(self, state: dict[str, Tensor]) -> None:
        own = {key: value for key, value in state.items() if key.startswith("allocation.")}
        self.shared.load_state({key: value for key, value in state.items() if key not in own})
        self.step = int(own.pop(_STEP))
        self.config.rank_pattern = json.loads(bytes(own.pop(_RANKS).tolist()))
        allocator = self.tuner.rankallocator
        allocator.reset_ipt()
        for key, value in own.items():
            _, kind, name = key.split(".", 2)
            device = self.tuner.get_parameter(f"model.{name}").device
            getattr(allocator, kind)[name] = value.to(device, copy=True)

    def describe(self) -> list[dict[str, Any]]:
        facts = {
            field: getattr(self.config, field)
            for field in ("init_r", "target_r", "tinit", "tfinal", "deltaT", "total_step", "orth_reg_weight")
        }
        return [{**entry, "rank_allocation": facts} for entry in self.shared.describe()]
