"""AdamW as torch has it: decay before the update, eps outside the bias-corrected root (Loshchilov and Hutter 2019).

Jittor's own counts calls of backward, not updates. What decays is the rule of training/optim.py: matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tunelab.backends.jittor.framework import jt
from tunelab.config.schema import Optimizer

CLIP_EPS = 1e-6


class _Group(NamedTuple):
    name: str
    decay: float
    rate: float
    members: list[str]


class AdamW:
    def __init__(self, parameters: dict[str, Any], rule: Optimizer, *, rates: Mapping[str, float]) -> None:
        """`rates`: multiples of the learning rate, by name."""
        self.parameters, self.rule = parameters, rule
        self.num_updates = 0
        self.moments = {
            kind: {name: jt.zeros(value.shape) for name, value in parameters.items()}
            for kind in ("exp_avg", "exp_avg_sq")
        }
        self.groups: dict[tuple[str, float], _Group] = {}
        for name, value in parameters.items():
            kind, rate = ("matrices" if value.ndim >= 2 else "vectors"), rates.get(name, 1.0)
            label = kind if rate == 1.0 else f"{kind}, rate x {rate:g}"
            decay = rule.weight_decay if kind == "matrices" else 0.0
            self.groups.setdefault((kind, rate), _Group(label, decay, rate, [])).members.append(name)

    def update(self, gradients: dict[str, Any], *, learning_rate: float, norm: float, max_norm: float | None) -> None:
        """Gradients above `max_norm` in all are scaled down, as torch's clip_grad_norm_."""
        self.num_updates += 1
        factor = 1.0 if max_norm is None else min(1.0, max_norm / (norm + CLIP_EPS))
        (beta1, beta2), steps = self.rule.betas, self.num_updates
        root2 = math.sqrt(1.0 - beta2**steps)
        for group in self.groups.values():
            rate = learning_rate * group.rate
            for name in group.members:
                value, gradient = self.parameters[name], gradients[name] * factor
                first, second = (self.moments[kind][name] for kind in ("exp_avg", "exp_avg_sq"))
                first.update(first + (gradient - first) * (1.0 - beta1))
                second.update(second * beta2 + gradient * gradient * (1.0 - beta2))
                step = first / (jt.sqrt(second) / root2 + self.rule.eps)
                value.update(value * (1.0 - rate * group.decay) - step * (rate / (1.0 - beta1**steps)))
                jt.sync([value, first, second])

    def state(self) -> dict[str, np.ndarray]:
        found = {f"{name}.{kind}": copied(each) for kind, of in self.moments.items() for name, each in of.items()}
        return found | {"step": np.array(self.num_updates, dtype=np.int64)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.num_updates = int(state["step"])
        for kind, moments in self.moments.items():
            for name, value in moments.items():
                value.update(jt.array(state[f"{name}.{kind}"]))

    def describe(self) -> list[dict[str, Any]]:
        return [
            {
                "optimizer": "AdamW",
                "group": group.name,
                "parameters": sum(math.prod(self.parameters[name].shape) for name in group.members),
                "weight_decay": group.decay,
                "betas": list(self.rule.betas),
                "eps": self.rule.eps,
            }
            for group in self.groups.values()
        ]


def copied(value: Any) -> np.ndarray:
    """`.numpy()` is a view of memory that changes."""
    return np.array(value.numpy(), dtype=np.float32)
