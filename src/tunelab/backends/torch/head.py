"""The output head from outside: what goes into it, and how far two models' logits are apart."""
# B batch, T tokens, N positions of the flattened batch, S supervised positions, H hidden, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def difference(logits_SV: Tensor, reference_SV: Tensor) -> float:
    """Largest, as a share of the largest logit."""
    return float((logits_SV - reference_SV).abs().max() / reference_SV.abs().max().clamp(min=1e-6))


@contextmanager
def before(head: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While it lasts the head sees `change` of its input, flattened to one row of positions."""

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_BTH = args[0]
        return (change(hidden_BTH.reshape(-1, hidden_BTH.shape[-1]))[None], *args[1:])

    handle = head.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
