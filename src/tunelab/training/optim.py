"""One optimizer rule for every method: AdamW, or a method's named other, with one rule for what decays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from torch import Tensor, nn

from tunelab.backend_contract import Updater
from tunelab.config.schema import Optimizer
from tunelab.contracts import OptimizerKind
from tunelab.training.inner.optimizers import load_optimizer_state, make_optimizer, optimizer_state
from tunelab.training.narrow.rounding import is_narrow, rounding_key
from tunelab.training.narrow.updates import NarrowUpdates, settings
from tunelab.training.ranks import clip, sum_gradients, total_norm


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter, tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Those that there are."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def groups(
    parameters: dict[str, nn.Parameter], *, weight_decay: float, rate_of: Callable[[str], float] = lambda name: 1.0
) -> list[dict[str, Any]]:
    """The one rule: matrices (two dimensions or more) decay, biases and norms never. A group for each multiple of the
    learning rate."""
    found: dict[tuple[str, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        kind, rate = ("matrices" if parameter.ndim >= 2 else "vectors"), rate_of(name)
        decay = weight_decay if kind == "matrices" else 0.0
        label = kind if rate == 1.0 else f"{kind}, rate x {rate:g}"
        group = found.setdefault((kind, rate), {"name": label, "params": [], "weight_decay": decay, "rate": rate})
        group["params"].append(parameter)
    return list(found.values())


class SharedRule(Updater):
    """Decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    def __init__(
        self,
        model: nn.Module,
        rule: Optimizer,
        *,
        kind: OptimizerKind = "adamw",
        rate_of: Callable[[str], float] = lambda name: 1.0,
        leave_out: Collection[str] = (),
    ) -> None:
        """`leave_out` names parameters that another rule moves."""
        trained = trained_parameters(model)
        self.parameters = {name: value for name, value in trained.items() if name not in leave_out}
        wide, narrow = ({}, {})
        for name, value in self.parameters.items():
            (narrow if is_narrow(value) else wide)[name] = value
        chosen = groups(wide, weight_decay=rule.weight_decay, rate_of=rate_of)
        # torch refuses no groups at all, and a part of a method may leave this rule nothing
        nothing = [{"name": "nothing", "params": [], "weight_decay": 0.0, "rate": 1.0}]
        self.optimizer = make_optimizer(chosen or nothing, rule, kind=kind)
        self.narrow = NarrowUpdates(
            groups(narrow, weight_decay=rule.weight_decay, rate_of=rate_of),
            {value: name for name, value in narrow.items()},
            make=lambda group: make_optimizer(group, rule, kind=kind),
            key_of=lambda name: rounding_key(model, name),
        )
        self._norm: Tensor | None = None
        self._summed = False

    def before_backward(self, *, last: bool) -> None:
        self._norm, self._summed = None, False

    def sum_over_ranks(self) -> None:
        """Once a step, before anything is made of the gradients."""
        if not self._summed:
            sum_gradients(self.parameters.values())
            self._summed = True

    def _total_norm(self) -> Tensor:
        """Taken once a step: the record and the clip both want it."""
        if self._norm is None:
            self.sum_over_ranks()
            self._norm = total_norm(gradients(self.parameters.values()))
        return self._norm

    def gradient_norm(self) -> Tensor:
        return self._total_norm()

    def gradients(self) -> list[Tensor]:
        return gradients(self.parameters.values())

    def forget(self) -> None:
        self._norm, self._summed = None, False
        for parameter in self.parameters.values():
            parameter.grad = None

    def drop_state(self, parameter: nn.Parameter) -> None:
        """What is remembered of its gradients."""
        self.optimizer.state.pop(parameter, None)
        self.narrow.drop_state(parameter)

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self.sum_over_ranks()
        if max_norm is not None:
            clip(list(self.parameters.values()), max_norm, self._total_norm())
        self._norm, self._summed = None, False
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.narrow.update(learning_rate=learning_rate)

    def state(self) -> dict[str, Tensor]:
        return {**optimizer_state(self.optimizer, self.parameters), **self.narrow.state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_optimizer_state(self.optimizer, self.parameters, self.narrow.load_state(state))

    def describe(self) -> list[dict[str, Any]]:
        wide = [
            {
                "optimizer": type(self.optimizer).__name__,
                "group": group["name"],
                "parameters": sum(parameter.numel() for parameter in group["params"]),
                **settings(self.optimizer, group),
            }
            for group in self.optimizer.param_groups
            if group["params"]
        ]
        return [*self.narrow.describe(), *wide]
