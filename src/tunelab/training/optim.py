"""One optimizer rule for every method: AdamW, or a method's named other, with one rule for what decays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from tunelab import device
from tunelab.backend_contract import Updater
from tunelab.config.schema import Optimizer
from tunelab.contracts import OptimizerKind
from tunelab.training.ranks import clip, cut_like, is_cut, sum_gradients, total_norm

KINDS = get_args(OptimizerKind)
"""adamw: torch's, fused. adamw8bit: moments in 8 bits (bitsandbytes; tensors below 4,096 values stay in 32).
paged_adamw8bit: those in memory that CUDA moves to the host when the GPU is full; plain 8-bit elsewhere.
adafactor: the second moment as a row and a column (torch's, Shazeer and Stern 2018)."""
_TABLES = ("qmap1", "qmap2")
"""What the codes of bitsandbytes' moments stand for: constants that all parameters share."""


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
        chosen = groups(self.parameters, weight_decay=rule.weight_decay, rate_of=rate_of)
        # torch refuses no groups at all, and a part of a method may leave this rule nothing
        nothing = [{"name": "nothing", "params": [], "weight_decay": 0.0, "rate": 1.0}]
        self.optimizer = make_optimizer(chosen or nothing, rule, kind=kind)
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
        self.optimizer.zero_grad(set_to_none=True)

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self.sum_over_ranks()
        if max_norm is not None:
            clip(list(self.parameters.values()), max_norm, self._total_norm())
        self._norm, self._summed = None, False
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        return optimizer_state(self.optimizer, self.parameters)

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_optimizer_state(self.optimizer, self.parameters, state)

    def describe(self) -> list[dict[str, Any]]:
        return [
            {
                "optimizer": type(self.optimizer).__name__,
                "group": group["name"],
                "parameters": sum(parameter.numel() for parameter in group["params"]),
                "weight_decay": group["weight_decay"],
                **{key: plain(group[key]) for key in ("betas", "beta2_decay", "eps", "d") if key in group},
                **_particulars(self.optimizer, group),
            }
            for group in self.optimizer.param_groups
            if group["params"]
        ]


def _particulars(optimizer: Any, group: dict[str, Any]) -> dict[str, Any]:
    """What an optimizer does beside its settings."""
    if isinstance(optimizer, torch.optim.Adafactor):
        return {"step_size": "min(learning rate, 1 / sqrt(step)) x max(eps[1], RMS of the weights)", "momentum": None}
    if hasattr(optimizer, "init_state"):
        smallest = optimizer.args.min_8bit_size
        wide = sum(parameter.numel() for parameter in group["params"] if parameter.numel() < smallest)
        return {"state_bits": 8, "parameters_with_32_bit_state": wide}
    return {}


def plain(value: Any) -> Any:
    """As JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def make_optimizer(
    parameters: Iterable[Tensor] | list[dict[str, Any]], rule: Optimizer, *, kind: OptimizerKind
) -> torch.optim.Optimizer:
    """A torch optimizer of that kind over tensors or groups; the learning rate is set at each step."""
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=0.0, betas=rule.betas, eps=rule.eps, fused=True)
    if kind == "adafactor":
        # betas and eps of the rule belong to AdamW: its eps would be Adafactor's clamp of squared gradients
        return torch.optim.Adafactor(parameters, lr=0.0)
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

    paged = kind == "paged_adamw8bit" and device.on_gpu()
    cls = PagedAdamW8bit if paged else AdamW8bit
    return cls(parameters, lr=0.0, betas=rule.betas, eps=rule.eps)


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As plain tensors, 'parameter.field' -> value."""
    return {
        f"{name}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if key not in _TABLES
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], state: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_state` gave, so that the next step is the same bit for bit."""
    fields_of: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, field = key.rsplit(".", 1)
        fields_of.setdefault(name, {})[field] = value
    if hasattr(optimizer, "init_state"):
        _fill_buffers(optimizer, {parameters[name]: fields for name, fields in fields_of.items()})
        return
    counts_beside = optimizer.defaults.get("fused")  # a fused kernel reads the number of steps on its device
    for name, fields in fields_of.items():
        for field, value in fields.items():
            parameter = parameters[name]
            if is_cut(parameter) and value.shape == parameter.shape:
                optimizer.state[parameter][field] = cut_like(parameter, value)
                continue
            place = "cpu" if field == "step" and not counts_beside else parameter.device
            optimizer.state[parameter][field] = value.to(place, copy=True)


def _fill_buffers(optimizer: Any, fields_of: dict[Tensor, dict[str, Tensor]]) -> None:
    """bitsandbytes makes its own buffers (paged ones too, and the shared tables); only their values are saved."""
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            if parameter not in fields_of:
                continue
            optimizer.init_state(group, parameter, group_index, index)
            for field, value in fields_of[parameter].items():
                buffer = optimizer.state[parameter][field]
                if isinstance(buffer, Tensor):
                    buffer.copy_(value)
                else:
                    optimizer.state[parameter][field] = value.item()
