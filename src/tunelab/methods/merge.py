"""Merge: weights of several finished runs put into one model: average, task arithmetic, TIES or DARE. Trains nothing.

The result is the base plus a combination of what each run changed in it, always against the same untouched base
(arXiv:2203.05482, 2212.04089, 2306.01708, 2311.03099). It has plain weights, and costs no more than one model to run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tunelab.contracts import Method
from tunelab.errors import ModelError
from tunelab.models.whole import WholeModel, train_all

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

GRID = tuple(step / 10 for step in range(11))
"""Weights of the first of two runs that a search tries; the second has the rest."""
BY_SHARE = ("ties", "dare")
"""Rules that keep only a share of each run's changes."""


class Merge(WholeModel):
    learning_rate: None = None
    """None: nothing is trained."""

    of: Annotated[tuple[str, ...], Field(min_length=1)]
    """Labels of methods of the same study; their runs on the same task and seed are merged."""

    how: Literal["average", "task_arithmetic", "ties", "dare"] = "average"
    """average, task_arithmetic: base + sum of weight * change; an average's weights add up to 1. ties: small changes
    are left out and signs agreed on. dare: a random share of the changes is left out and the rest enlarged."""

    weights: tuple[float, ...] | Literal["search"] = ()
    """One a run; empty: 1 / number of runs (ties: 1, since it divides by the number itself). `search`, for two runs:
    0, 0.1, ... 1 and the rest, by the lowest validation loss."""

    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    """ties, dare: share of each run's changes that is kept."""

    trains: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits_together(self) -> Merge:
        if twice := [label for label in self.of if self.of.count(label) > 1]:
            raise ValueError(f"of: '{twice[0]}' stands there twice")
        if self.weights == "search" and (len(self.of) != 2 or self.how == "ties"):
            raise ValueError(f"weights: search is for two runs and not for ties; got {len(self.of)} runs by {self.how}")
        if isinstance(self.weights, tuple) and self.weights and len(self.weights) != len(self.of):
            raise ValueError(f"weights: {len(self.weights)} of them for {len(self.of)} runs; give one a run")
        if self.how == "average" and isinstance(self.weights, tuple) and self.weights:
            if abs(sum(self.weights) - 1.0) > 1e-6:
                rule = "an average's add up to 1 (task_arithmetic takes any)"
                raise ValueError(f"weights: add up to {sum(self.weights):g}, and {rule}")
        if self.density != 0.5 and self.how not in BY_SHARE:
            raise ValueError(f"density: is an option of {' and '.join(BY_SHARE)}, not of {self.how}")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        return self.of

    def summary(self, parts: Sequence[str]) -> str:
        how = {"task_arithmetic": "task arithmetic", "ties": "TIES", "dare": "DARE"}.get(self.how, self.how)
        return f"{how} of {' + '.join(self.of)}"

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        return train_all(model)  # each may change, and what changes is held in fp32

    def combine(
        self, model: PreTrainedModel, folders: Sequence[Path], *, seed: int, validation_loss: Callable[[], float]
    ) -> list[str]:
        base = {name: value.detach().clone() for name, value in model.named_parameters()}
        changes = [
            _changes(model, base, member, folder, seed=seed)
            for member, folder in zip(self.members, folders, strict=True)
        ]
        if self.weights != "search":
            one = 1.0 if self.how == "ties" else 1 / len(self.of)
            self._write(model, base, changes, self.weights or (one,) * len(self.of), seed=seed)
            return []
        losses = {}
        for weight in GRID:
            self._write(model, base, changes, (weight, 1 - weight), seed=seed)
            losses[weight] = validation_loss()
        best = min(losses, key=lambda weight: losses[weight])
        self._write(model, base, changes, (best, 1 - best), seed=seed)
        return [
            f"weights {best:g} and {1 - best:g}: the lowest of {len(GRID)} validation losses, {losses[best]:.4f} nats "
            f"a token; {self.of[0]} alone has {losses[1.0]:.4f}, {self.of[1]} alone {losses[0.0]:.4f}"
        ]

    def _write(
        self,
        model: PreTrainedModel,
        base: dict[str, Tensor],
        changes: list[dict[str, Tensor]],
        weights: Sequence[float],
        *,
        seed: int,
    ) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in model.named_parameters():
                deltas = [change[name] for change in changes]
                parameter.copy_(base[name] + self._combined(name, deltas, weights, seed=seed))

    def _combined(self, name: str, deltas: list[Tensor], weights: Sequence[float], *, seed: int) -> Tensor:
        from tunelab.kernels import task_vectors

        if self.how == "ties":
            return task_vectors.ties(deltas, weights, density=self.density)
        if self.how == "dare":
            deltas = [
                task_vectors.drop(delta, density=self.density, seed=seed, name=f"{label}: {name}")
                for label, delta in zip(self.of, deltas, strict=True)
            ]
        return task_vectors.weighted_sum(deltas, weights)


def _changes(
    model: PreTrainedModel, base: dict[str, Tensor], member: Method, folder: Path, *, seed: int
) -> dict[str, Tensor]:
    """What one run changed: its plain weights minus the base, fp32. A 4-bit base's rounding is part of it where the
    method merges into what it trained on."""
    trained = member.attach(copy.deepcopy(model), seed=seed)
    member.load(trained, folder)
    plain = dict(member.merged(trained).named_parameters())
    if set(plain) != set(base):
        odd = sorted(set(plain) ^ set(base))[0]
        raise ModelError(f"{folder}: has other weights than the base model (first: {odd}), so it cannot be merged")
    return {name: plain[name].detach().float() - value for name, value in base.items()}
