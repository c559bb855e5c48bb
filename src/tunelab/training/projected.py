"""Trains matrices through projected gradients: any inner optimizer, on tensors of rank R (Zhao et al. 2024,
arXiv:2403.03507).

A matrix's gradient is projected the moment backward has made it, added to the step's sum in the projected space and
dropped: at most one layer's full gradient exists, and accumulation, clipping and the sum over ranks move low-rank
tensors. This is exact as long as the basis is fixed.

A basis that is due is found from the step's whole gradient, as in the authors' code. Of a step in one piece that is
what backward brings. A step in several is looked at first: passes over its micro-batches that sum up whole gradients of
as many matrices as there is room for (looks.py), find their bases and drop them. A driver that gives no looks gets
bases from its first micro-batch. A gradient that is not finite gives no basis: the step's norm is then not finite
either, and whoever drives leaves the step out or ends the run; the basis stays due.
"""
# O out, I in

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, distributed, nn

from tunelab.backend_contract import Updater
from tunelab.config.schema import Optimizer
from tunelab.contracts import OptimizerKind
from tunelab.training.inner.low_rank import Inner, LowRankOptimizer
from tunelab.training.inner.optimizers import make_optimizer, plain
from tunelab.training.looks import Looks
from tunelab.training.matrices import CutMatrix, Matrix
from tunelab.training.optim import SharedRule, gradients
from tunelab.training.ranks import clip, num_ranks, somewhere, sum_gradients, sum_over_ranks, total_norm

if TYPE_CHECKING:
    from tunelab.kernels.projector import Projector

Moments = Literal["keep", "rotate", "reset"]


class Settings(NamedTuple):
    """How every matrix of a rule is trained."""

    update_gap: int
    """Bases are found again at multiples of this many steps."""
    scale: float
    """Factor on the projected step: the learning rate of these matrices is the run's times this."""
    moments: Moments
    """What becomes of the moments when the basis changes."""
    relative: bool = False
    """Whether steps are relative to the weight's root mean square, as Adafactor's are."""
    patience: float | None = None
    """The gap doubles at each refresh at which the last five |cosines| of leading directions are this in the mean or
    more; None: it never does."""


SMALLEST_SIZE = 1e-3
"""What a weight's root mean square counts as at least (torch's Adafactor)."""
COSINES = 5
"""Refreshes whose leading directions are looked at before the gap doubles."""


class Projected:
    """One matrix with its projector, its inner optimizer and its refreshes."""

    def __init__(self, matrix: Matrix, projector: Projector, settings: Settings, inner: Inner) -> None:
        self.matrix, self.projector, self.settings = matrix, projector, settings
        self.low = LowRankOptimizer(projector.low_shape, dtype=matrix.dtype, device=matrix.device, inner=inner)
        self.gap, self.refreshed_at, self.step = settings.update_gap, -1, 0
        self.looked_in_vain_at = -1
        self.is_broken = False
        """Whether the step's gradient was not finite when a basis was to be found."""
        self.cosines: list[float] = []

    @property
    def due(self) -> bool:
        """Whether this step needs a basis: the first one that has a gradient, and every multiple of the gap."""
        return self.refreshed_at < 0 or self.step // self.gap > self.refreshed_at // self.gap

    @property
    def wants_look(self) -> bool:
        """Whether a basis is to be found from this step's gradient."""
        return self.due and self.projector.follows_gradients and self.looked_in_vain_at != self.step

    @property
    def comes_summed(self) -> bool:
        """Whether the gradients it is given are those of all ranks."""
        return isinstance(self.matrix, CutMatrix)

    def find(self, grad_OI: Tensor | None) -> None:
        """The basis from the step's whole gradient on this rank (None: nothing came), which is no further used."""
        if num_ranks() > 1 and not self.comes_summed:
            grad_OI = torch.zeros(self.matrix.shape, device=self.matrix.device) if grad_OI is None else grad_OI
            sum_over_ranks([grad_OI])
            grad_OI = grad_OI if grad_OI.any() else None
        if grad_OI is None or not self._gives_basis(grad_OI):
            self.looked_in_vain_at = self.step
            return
        with torch.no_grad():
            self._refresh(grad_OI)

    def _gives_basis(self, grad_OI: Tensor) -> bool:
        """A step in which one did not gives none any more: what else comes is a part of it."""
        if self.projector.follows_gradients and not self.is_broken:
            self.is_broken = not grad_OI.isfinite().all()
        return not self.is_broken

    def take(self, grad_OI: Tensor) -> None:
        """Project a micro-batch's gradient, onto a new basis where one is due, and add it to the step's."""
        with torch.no_grad():
            if self.due and not self._gives_basis(grad_OI):
                self.low.add(torch.full(self.projector.low_shape, math.nan, dtype=grad_OI.dtype, device=grad_OI.device))
                return
            if self.due:
                self._refresh(grad_OI)
            self.low.add(self.projector.project(grad_OI))

    def forget(self) -> None:
        """Begin the step again, with the bases that its gradients have given: a part of them would give others. A
        basis that was found is that of the whole step, for one that is cut was looked at before."""
        self.low.stand_in.grad = None
        self.is_broken, self.looked_in_vain_at = False, -1

    def catch_up(self) -> None:
        """Draw the basis that is due where the step's gradient came on other ranks only: the same as theirs."""
        if self.due and not self.projector.follows_gradients:
            self._refresh(torch.empty(0))

    def _refresh(self, grad_OI: Tensor) -> None:
        projector, old = self.projector, dict(self.projector.bases)
        projector.refresh(grad_OI)
        if num_ranks() > 1 and projector.follows_gradients:  # in a look, of which every rank is a part
            for held in projector.stored.values():
                distributed.broadcast(held, src=0)
        self.refreshed_at = self.step
        if old and self.settings.moments == "rotate":
            self.low.rotate(old, projector.bases)
        elif self.settings.moments == "reset":
            self.low.inner.state.pop(self.low.stand_in, None)
        if old and self.settings.patience is not None:
            self._wait_longer(old, patience=self.settings.patience)

    def _wait_longer(self, old: dict[str, Tensor], *, patience: float) -> None:
        side, basis = next(iter(self.projector.bases.items()))
        cosine = nn.functional.cosine_similarity(old[side][:, 0].float(), basis[:, 0].float(), dim=0)
        self.cosines = [*self.cosines, float(cosine.abs())][-COSINES:]
        if len(self.cosines) == COSINES and sum(self.cosines) / COSINES >= patience:
            self.gap *= 2

    def update(self, *, learning_rate: float, weight_decay: float) -> None:
        """Move the weight; without a gradient it stays, as in torch's optimizers."""
        self.step += 1
        if self.low.stand_in.grad is None:
            return
        self.low.step(
            learning_rate=learning_rate,
            use=lambda step: self.matrix.move(
                lambda weight_OI: self._move(weight_OI, step, learning_rate * weight_decay), number=self.step
            ),
        )

    def _move(self, weight_OI: Tensor, step: Tensor, decay: float) -> None:
        scale = self.settings.scale
        if self.settings.relative:
            scale *= max(SMALLEST_SIZE, float(weight_OI.norm()) / weight_OI.numel() ** 0.5)
        weight_OI.mul_(1.0 - decay)  # before the step, as the shared rule does
        self.projector.add_back(weight_OI, step, scale=scale)

    def state(self) -> dict[str, Tensor]:
        own = {
            "counts": torch.tensor([self.step, self.refreshed_at, self.gap]),
            "cosines": torch.tensor(self.cosines, dtype=torch.float64),
        }
        parts = {"own": own, "projector": self.projector.state(), "optimizer": self.low.state()}
        return join(parts)

    def load_state(self, state: dict[str, Tensor]) -> None:
        parts = split(state)
        self.step, self.refreshed_at, self.gap = parts["own"]["counts"].tolist()
        self.cosines = parts["own"]["cosines"].tolist()
        self.projector.load_state(parts["projector"], device=self.matrix.device)
        self.low.load_state(parts.get("optimizer", {}))


class ProjectedRule(Updater):
    """Named matrices by projected gradients, every other trained parameter by the shared rule."""

    def __init__(
        self, targets: dict[str, Projected], others: SharedRule | None, rule: Optimizer, *, notes: dict[str, Any]
    ) -> None:
        self.targets, self.others, self.rule, self.notes = targets, others, rule, notes
        self._summed = False
        held = [*(target.low.stand_in for target in targets.values()), *self._others()]
        sizes = {name: math.prod(target.matrix.shape) for name, target in targets.items()}
        self._looks = Looks(sizes, held_anyway=sum(tensor.numel() for tensor in held))
        self._ends: list[Callable[[], None]] = []
        self._watch({name: target.take for name, target in targets.items()})
        weakref.finalize(self, _end_all, self._ends)

    def _others(self) -> list[nn.Parameter]:
        return [] if self.others is None else list(self.others.parameters.values())

    def _watch(self, takes: dict[str, Callable[[Tensor], None]]) -> None:
        """From here on these matrices' gradients go there, and no others are watched."""
        _end_all(self._ends)
        self._ends.extend(self.targets[name].matrix.watch(take) for name, take in takes.items())

    def wants_look(self, *, num_batches: int) -> bool:
        return (num_batches > 1 or num_ranks() > 1) and any(target.wants_look for target in self.targets.values())

    @contextmanager
    def look(self) -> Iterator[None]:
        names = self._looks.group([name for name, target in self.targets.items() if target.wants_look])
        self._watch({name: partial(self._looks.add, name) for name in names})
        try:
            yield
            for name in names:
                self.targets[name].find(self._looks.sums.pop(name, None))
        finally:
            self._looks.sums.clear()
            self._watch({name: target.take for name, target in self.targets.items()})

    def _tensors(self) -> list[nn.Parameter]:
        """What carries the step's gradients: stand-ins of the matrices, and the other parameters themselves."""
        found = [*(target.low.stand_in for target in self.targets.values()), *self._others()]
        return [tensor for tensor in found if tensor.grad is not None]

    def _sum_over_ranks(self) -> None:
        if self._summed:
            return
        targets = list(self.targets.values())
        for target, there in zip(
            targets, somewhere([one.low.stand_in.grad is not None for one in targets]), strict=True
        ):
            if there:
                target.catch_up()
        sum_gradients([target.low.stand_in for target in targets if not target.comes_summed])
        if self.others is not None:
            self.others.sum_over_ranks()
        self._summed = True

    def gradient_norm(self) -> Tensor:
        """Of what the update sees: projected gradients of the matrices, whole ones of the rest. The full gradient's
        norm is at least this, and is never known: no full gradient outlives its layer."""
        self._sum_over_ranks()
        return total_norm(gradients(self._tensors()))

    def gradients(self) -> list[Tensor]:
        return gradients(self._tensors())

    def forget(self) -> None:
        self._summed = False
        for target in self.targets.values():
            target.forget()
        if self.others is not None:
            self.others.forget()

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self._sum_over_ranks()
        tensors = self._tensors()
        if max_norm is not None:
            clip(tensors, max_norm, total_norm(gradients(tensors)))
        for target in self.targets.values():
            target.update(learning_rate=learning_rate, weight_decay=self.rule.weight_decay)
        if self.others is not None:
            self.others.update(learning_rate=learning_rate, max_norm=None)
        self._summed = False

    def state(self) -> dict[str, Tensor]:
        targets = {name: target.state() for name, target in self.targets.items()}
        others = {} if self.others is None else self.others.state()
        return join({"targets": join(targets, "/"), "others": others}, "/")

    def load_state(self, state: dict[str, Tensor]) -> None:
        parts = split(state, "/")
        for name, part in split(parts["targets"], "/").items():
            self.targets[name].load_state(part)
        if self.others is not None:
            self.others.load_state(parts.get("others", {}))

    def describe(self) -> list[dict[str, Any]]:
        inner = next(iter(self.targets.values())).low.inner
        settings = next(iter(self.targets.values())).settings
        group = inner.param_groups[0]
        own = {
            "optimizer": f"{type(inner).__name__} on projected gradients",
            "group": "projected matrices",
            "parameters": sum(math.prod(target.matrix.shape) for target in self.targets.values()),
            "weight_decay": self.rule.weight_decay,
            **{key: plain(group[key]) for key in ("betas", "beta2_decay", "eps") if key in group},
            **self.notes,
            **{key: value for key, value in settings._asdict().items() if value is not None},
            "effective_rate": f"learning rate x {settings.scale:g}",
            "clipped_norm": "of projected gradients and the others",
        }
        return [own, *([] if self.others is None else self.others.describe())]


def inner_optimizer(rule: Optimizer, *, kind: OptimizerKind) -> Inner:
    """The shared rule's optimizer of that kind without decay, which is the weight's own. Adafactor multiplies its step
    by the size of what it moves: 1 for a stand-in, and `Settings.relative` brings the weight's in."""
    own = {"weight_decay": 0.0, **({"eps": (None, 1.0)} if kind == "adafactor" else {})}
    return lambda tensors: make_optimizer([{"params": tensors, **own}], rule, kind=kind)


def _end_all(ends: list[Callable[[], None]]) -> None:
    while ends:
        ends.pop()()


def join(parts: dict[str, dict[str, Tensor]], separator: str = ".") -> dict[str, Tensor]:
    """Nested names as one: 'part.name' -> value."""
    return {f"{part}{separator}{name}": value for part, values in parts.items() for name, value in values.items()}


def split(state: dict[str, Tensor], separator: str = ".") -> dict[str, dict[str, Tensor]]:
    """What `join` was given."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        part, name = key.split(separator, 1)
        parts.setdefault(part, {})[name] = value
    return parts
