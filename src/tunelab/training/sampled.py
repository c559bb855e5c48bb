"""The shared rule where some parts of a model rest for a while: frozen, without gradient and optimizer state.

Between steps every parameter counts as trained, because each has moved or will: it is stored in fp32 and belongs in a
checkpoint. From a step's first micro-batch to its update the parts that rest are frozen, so that backward computes
nothing for them. What the optimizer held of a part that begins to rest is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.backend_contract import Updater
from tunelab.training.optim import SharedRule

_STEP = "sampled.step"


class SampledRule(Updater):
    """`parts` are parameters that train or rest together, `awake` gives the indices of those that train at a step,
    counted from 1; parameters in none of them always train."""

    def __init__(
        self,
        shared: SharedRule,
        parts: Sequence[Sequence[nn.Parameter]],
        *,
        awake: Callable[[int], Collection[int]],
        notes: dict[str, Any],
    ) -> None:
        self.shared, self.parts, self.awake, self.notes = shared, parts, awake, notes
        self.step, self._begun = 0, False

    def before_backward(self, *, last: bool) -> None:
        self.shared.before_backward(last=last)
        if not self._begun:
            for parameter in self._resting():
                parameter.requires_grad_(False)
                self.shared.drop_state(parameter)
            self._begun = True

    def _resting(self) -> set[nn.Parameter]:
        """At the present step. A parameter that two parts share trains with either."""
        awake = self.awake(self.step + 1)
        training = {parameter for index in awake for parameter in self.parts[index]}
        return {parameter for part in self.parts for parameter in part} - training

    def gradient_norm(self) -> Tensor:
        """Over what trains at this step."""
        return self.shared.gradient_norm()

    def gradients(self) -> list[Tensor]:
        return self.shared.gradients()

    def forget(self) -> None:
        """The same parts are drawn when the step begins again."""
        self.shared.forget()
        self._wake()

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self.shared.update(learning_rate=learning_rate, max_norm=max_norm)
        self._wake()
        self.step += 1

    def _wake(self) -> None:
        for parameter in self.shared.parameters.values():
            parameter.requires_grad_(True)
        self._begun = False

    def state(self) -> dict[str, Tensor]:
        return {**self.shared.state(), _STEP: torch.tensor(self.step)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.step = int(state[_STEP])
        self.shared.load_state({key: value for key, value in state.items() if key != _STEP})

    def describe(self) -> list[dict[str, Any]]:
        return [{**entry, **self.notes} for entry in self.shared.describe()]
