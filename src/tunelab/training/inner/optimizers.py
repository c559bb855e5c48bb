"""The optimizers of torch and bitsandbytes that the rules are made of: made, described, saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from tunelab import device
from tunelab.config.schema import Optimizer
from tunelab.contracts import OptimizerKind
from tunelab.training.ranks import cut_like, is_cut

KINDS = get_args(OptimizerKind)
"""adamw: torch's, fused. adamw8bit: moments in 8 bits (bitsandbytes; tensors below 4,096 values stay in 32).
paged_adamw8bit: those in memory that CUDA moves to the host when the GPU is full; plain 8-bit elsewhere.
adafactor: the second moment as a row and a column (torch's, Shazeer and Stern 2018)."""
_TABLES = ("qmap1", "qmap2")
"""What the codes of bitsandbytes' moments stand for: constants that all parameters share."""


def particulars(optimizer: Any, group: dict[str, Any]) -> dict[str, Any]:
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
