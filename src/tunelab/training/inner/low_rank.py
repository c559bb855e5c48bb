"""An optimizer of any kind on a projected gradient, or a whole one, whose step is taken elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tunelab.training.inner.optimizers import load_optimizer_state, optimizer_state

Inner = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Makes the inner optimizer over one low-rank tensor."""


class LowRankOptimizer:
    """An inner optimizer over a stand-in of the projected shape: it starts each step at zero, so what it holds
    afterwards is the step; or at a weight, and then holds that after the step. Its memory is given back in between."""

    def __init__(self, shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device, inner: Inner) -> None:
        self.stand_in = nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
        self.inner = inner([self.stand_in])
        self._bytes = self.stand_in.untyped_storage().nbytes()
        self._release()

    def _release(self) -> None:
        self.stand_in.untyped_storage().resize_(0)

    def add(self, low: Tensor) -> None:
        """Add to the gradient of the coming step."""
        if self.stand_in.grad is None:
            self.stand_in.grad = low
        else:
            self.stand_in.grad.add_(low)

    def step(self, *, learning_rate: float, use: Callable[[Tensor], None], start: Tensor | None = None) -> None:
        """Take the step from `start` (None: zero), show `use` what is there then, and forget it with its gradient."""
        with torch.no_grad():
            self.stand_in.untyped_storage().resize_(self._bytes)
            if start is None:
                self.stand_in.zero_()
            else:
                self.stand_in.copy_(start)
            for group in self.inner.param_groups:
                group["lr"] = learning_rate
            self.inner.step()
            use(self.stand_in.detach())
        self.stand_in.grad = None
        self._release()

    def rotate(self, old: dict[str, Tensor], new: dict[str, Tensor]) -> None:
        """Adam's moments, from the old bases to the new: M by Q = new^T old, V by its squares (as LDAdam,
        arXiv:2410.16103)."""
        moments = self.inner.state[self.stand_in]
        for key, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
            if key not in moments:
                continue
            if "left" in new:
                moments[key] = (new["left"].t() @ old["left"]).pow(power) @ moments[key]
            if "right" in new:
                moments[key] = moments[key] @ (old["right"].t() @ new["right"]).pow(power)

    def state(self, name: str = "inner") -> dict[str, Tensor]:
        """'name.field' -> value."""
        return optimizer_state(self.inner, {name: self.stand_in})

    def load_state(self, state: dict[str, Tensor], name: str = "inner") -> None:
        load_optimizer_state(self.inner, {name: self.stand_in}, state)
