"""Trains matrices through projected gradients: any inner optimizer, on tensors of rank R (Zhao et al. 2024,
arXiv:2403.03507).

A matrix's gradient is projected the moment backward has made it, added to the step's sum in the projected space and
dropped: at most one layer's full gradient exists, and accumulation, clipping and the sum over ranks move low-rank
tensors. This is exact as long as the basis is fixed. A basis that is due is found from the gradient of the step's first
micro-batch (rank 0's, where there are several ranks), and there alone does it matter how a step is cut.
"""
# O out, I in

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, distributed, nn

from tunelab.backend_contract import Updater
from tunelab.config.schema import Optimizer
from tunelab.contracts import OptimizerKind
from tunelab.training.optim import SharedRule, gradients, load_optimizer_state, make_optimizer, optimizer_state, plain

if TYPE_CHECKING:
    from tunelab.kernels.projector import Projector

Moments = Literal["keep", "rotate", "reset"]
Inner = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Makes the inner optimizer over one low-rank tensor."""


class Matrix(Protocol):
    """A weight that is trained through projected gradients."""

    shape: tuple[int, int]
    """(O, I)"""
    dtype: torch.dtype

    @property
    def device(self) -> torch.device: ...

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        """Hand every gradient (O, I) to `take` and keep none; returns what ends this."""
        ...

    def move(self, change: Callable[[Tensor], None]) -> None:
        """Let `change` work on the weight (O, I) in place."""


class FloatMatrix:
    """A parameter; `transposed` where it lies as (I, O)."""

    def __init__(self, parameter: nn.Parameter, *, transposed: bool) -> None:
        self.parameter, self.transposed = parameter, transposed
        outputs, inputs = self._oriented(parameter).shape
        self.shape = outputs, inputs
        self.dtype, self.device = parameter.dtype, parameter.device

    def _oriented(self, tensor: Tensor) -> Tensor:
        return tensor.t() if self.transposed else tensor

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        def hook(parameter: nn.Parameter) -> None:
            assert parameter.grad is not None
            take(self._oriented(parameter.grad))
            parameter.grad = None

        return self.parameter.register_post_accumulate_grad_hook(hook).remove

    def move(self, change: Callable[[Tensor], None]) -> None:
        with torch.no_grad():
            change(self._oriented(self.parameter))


class LowRankOptimizer:
    """An inner optimizer over a stand-in of the projected shape: it starts each step at zero, so what it holds
    afterwards is the step. Its memory is given back in between."""

    def __init__(self, shape: tuple[int, int], *, dtype: torch.dtype, device: torch.device, inner: Inner) -> None:
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

    def step(self, *, learning_rate: float, use: Callable[[Tensor], None]) -> None:
        """Take the step, show it to `use` and forget it with its gradient."""
        with torch.no_grad():
            self.stand_in.untyped_storage().resize_(self._bytes)
            self.stand_in.zero_()
            for group in self.inner.param_groups:
                group["lr"] = learning_rate
            self.inner.step()
            use(self.stand_in.detach())
        self.stand_in.grad = None
        self._release()

    def state(self) -> dict[str, Tensor]:
        return optimizer_state(self.inner, {"inner": self.stand_in})

    def load_state(self, state: dict[str, Tensor]) -> None:
        load_optimizer_state(self.inner, {"inner": self.stand_in}, state)


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
        self.cosines: list[float] = []

    @property
    def due(self) -> bool:
        """Whether this step needs a basis: the first one that has a gradient, and every multiple of the gap."""
        return self.refreshed_at < 0 or self.step // self.gap > self.refreshed_at // self.gap

    def take(self, grad_OI: Tensor) -> None:
        """Project a micro-batch's gradient, onto a new basis where one is due, and add it to the step's."""
        with torch.no_grad():
            if self.due:
                self._refresh(grad_OI)
            self.low.add(self.projector.project(grad_OI))

    def _refresh(self, grad_OI: Tensor) -> None:
        projector, old = self.projector, dict(self.projector.bases)
        projector.refresh(grad_OI)
        if _num_ranks() > 1:
            for held in projector.stored.values():
                distributed.broadcast(held, src=0)
        self.refreshed_at = self.step
        state = self.low.inner.state
        if old and self.settings.moments == "rotate":
            _rotate(state[self.low.stand_in], old, projector.bases)
        elif self.settings.moments == "reset":
            state.pop(self.low.stand_in, None)
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
                lambda weight_OI: self._move(weight_OI, step, learning_rate * weight_decay)
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
        ends = [target.matrix.watch(target.take) for target in targets.values()]
        weakref.finalize(self, lambda: [end() for end in ends])

    def _tensors(self) -> list[nn.Parameter]:
        """What carries the step's gradients: stand-ins of the matrices, and the other parameters themselves."""
        others = [] if self.others is None else list(self.others.parameters.values())
        found = [*(target.low.stand_in for target in self.targets.values()), *others]
        return [tensor for tensor in found if tensor.grad is not None]

    def _sum_over_ranks(self) -> None:
        if not self._summed:
            sum_over_ranks(gradients(self._tensors()))
            self._summed = True

    def gradient_norm(self) -> float:
        """Of what the update sees: projected gradients of the matrices, whole ones of the rest. The full gradient's
        norm is at least this, and is never known: no full gradient outlives its layer."""
        self._sum_over_ranks()
        return float(nn.utils.get_total_norm(gradients(self._tensors())))

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self._sum_over_ranks()
        tensors = self._tensors()
        if max_norm is not None:
            nn.utils.clip_grads_with_norm_(tensors, max_norm, nn.utils.get_total_norm(gradients(tensors)))
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
            "parameters": sum(target.matrix.shape[0] * target.matrix.shape[1] for target in self.targets.values()),
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


def sum_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Sum in place: the loss is divided by the tokens of all ranks beforehand."""
    if _num_ranks() > 1:
        for tensor in tensors:
            distributed.all_reduce(tensor)


def _num_ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _rotate(moments: dict[str, Tensor], old: dict[str, Tensor], new: dict[str, Tensor]) -> None:
    """Adam's moments, in the new basis: M by Q = new^T old, V by its squares (as LDAdam, arXiv:2410.16103)."""
    for key, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
        if key not in moments:
            continue
        if "left" in new:
            moments[key] = (new["left"].t() @ old["left"]).pow(power) @ moments[key]
        if "right" in new:
            moments[key] = moments[key] @ (old["right"].t() @ new["right"]).pow(power)


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
