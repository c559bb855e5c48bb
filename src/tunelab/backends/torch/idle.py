"""Trained values that a model does not compute with: their gradient is none, and they stay what they were."""

from __future__ import annotations

from torch import nn

from tunelab.training.optim import trained_parameters

NUM_NAMED = 3


def idle_notes(model: nn.Module) -> list[str]:
    """After a backward pass, before anything is cleared. A parameter with a hook of its own is left out: the hook may
    have taken the gradient away (projected methods)."""
    trained = trained_parameters(model)
    idle = [
        name
        for name, parameter in trained.items()
        if parameter.grad is None and not getattr(parameter, "_post_accumulate_grad_hooks", None)
    ]
    if not idle:
        return []
    more = f" and {len(idle) - NUM_NAMED} more" if len(idle) > NUM_NAMED else ""
    number, names = sum(trained[name].numel() for name in idle), ", ".join(idle[:NUM_NAMED])
    return [
        f"{len(idle)} of {len(trained)} trained tensors ({number:,} values: {names}{more}) got no gradient in the "
        "first step: the model does not compute with them, or its rows did not reach them"
    ]
