"""Updaters of methods that are made of others: the one a method asks for, and several on one model at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tunelab.backend_contract import Updater
from tunelab.config.schema import Optimizer
from tunelab.contracts import Method
from tunelab.training.optim import SharedRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def updater_of(method: Method, model: PreTrainedModel, rule: Optimizer) -> Updater:
    """The method's own, else the shared rule with what the method declares."""
    shared = functools.partial(SharedRule, kind=method.optimizer_kind, rate_of=method.rate_of)
    return method.updater(model, rule) or shared(model, rule)


class Share(NamedTuple):
    """One of several updaters, over parameters that no other one has."""

    name: str
    updater: Updater
    rate: float
    """Its learning rate, as a multiple of the run's."""


class Together(Updater):
    """Several updaters that make one step: one gradient norm over all of them, one clip."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self.shares = tuple(shares)
        self._norms: list[Tensor] = []

    def before_backward(self, *, last: bool) -> None:
        for share in self.shares:
            share.updater.before_backward(last=last)

    def wants_look(self, *, num_batches: int) -> bool:
        return any(share.updater.wants_look(num_batches=num_batches) for share in self.shares)

    @contextmanager
    def look(self) -> Iterator[None]:
        with ExitStack() as stack:
            for share in self.shares:
                stack.enter_context(share.updater.look())
            yield

    def gradient_norm(self) -> Tensor:
        """Of shares on one device, in fp64."""
        found = [torch.as_tensor(share.updater.gradient_norm(), dtype=torch.float64) for share in self.shares]
        self._norms = [norm.to(found[0].device) for norm in found]
        return torch.stack(self._norms).norm()

    def gradients(self) -> list[Tensor]:
        return [tensor for share in self.shares for tensor in share.updater.gradients()]

    def forget(self) -> None:
        for share in self.shares:
            share.updater.forget()

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        norm = float(self.gradient_norm()) if max_norm is not None else 0.0
        for index, share in enumerate(self.shares):
            limit = None
            if max_norm is not None and norm > max_norm and self._norms[index] > 0:
                # The global clip scales all gradients by max_norm / norm: each share's own norm shrinks by as much.
                limit = max_norm * float(self._norms[index]) / norm
            share.updater.update(learning_rate=learning_rate * share.rate, max_norm=limit)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{index}.{key}": value
            for index, share in enumerate(self.shares)
            for key, value in share.updater.state().items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        for index, share in enumerate(self.shares):
            start = f"{index}."
            own = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
            share.updater.load_state(own)

    def describe(self) -> list[dict[str, Any]]:
        return [
            {**group, "group": f"{share.name}: {group['group']}, rate x {share.rate:g}"}
            for share in self.shares
            for group in share.updater.describe()
        ]
