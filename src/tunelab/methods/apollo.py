"""APOLLO: full updates, scaled as Adam would in a random subspace of rank R (Zhu et al. 2024, arXiv:2412.05270).

Adam runs on the gradient's random projection only to say how much each channel should be scaled: s = |N| / |R| of the
projected step N and gradient R. The weight then moves along its own full gradient. Rank 1 is APOLLO-Mini, with one
scaling for a whole matrix. Written from the paper; what it leaves open (the limiter looks at updates without Adam's
bias correction, which is applied after it) is as in the authors' apollo-torch 1.0.3, `apollo.py`, whose steps
tests/methods/test_apollo.py writes out. Weights decay before the step, as by the shared rule, and there after it.
"""
# O out, I in, J channels: the longer side of a matrix, R rank

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import PositiveFloat, PositiveInt

from tunelab.backend_contract import Updater
from tunelab.models.whole import WholeModel, train_all

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from tunelab.config.schema import Optimizer
    from tunelab.kernels.projector import Projector
    from tunelab.training.inner.low_rank import LowRankOptimizer
    from tunelab.training.optim import SharedRule

GROWTH = 1.01
"""A matrix's update, without Adam's bias correction, may be at most this many times as long as the one before (the
norm-growth limiter of Fira, arXiv:2410.01623). The correction is 0.32 at first and 0.15 at step 12: updates from even
gradients grow without it, so that the limiter holds the first steps back."""
MINI_SCALE = 128.0
_SEED = "projector_seed"
"""An attribute of the model: what the random projections depend on beside the matrix's name."""


class Apollo(WholeModel):
    learning_rate: PositiveFloat = 1.0e-4
    """Of all parameters; matrices move by this times sqrt(scale) along their scaled gradient."""

    rank: PositiveInt = 256
    """R of the projection that Adam sees. 1: APOLLO-Mini. More than the shorter side of a matrix is refused."""

    scale: PositiveFloat | None = None
    """Its root multiplies the update; null: 1, and 128 for rank 1, as published."""

    update_gap: PositiveInt = 200
    """Steps after which the projection is drawn anew."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which matrices; every other parameter is trained by the shared rule."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r", "update_gap": "gap"}
    parallel: ClassVar[bool] = True
    narrow_weights: ClassVar[bool] = True

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"rank": 8}

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.targets import check_rank, select

        check_rank(self.rank, select(model, self.targets, left_out=None))
        setattr(model, _SEED, seed)
        return train_all(model)

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"scales the gradients of": self.targets})

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater:
        import torch

        from tunelab.kernels.projector import Projector
        from tunelab.models.targets import is_transposed, outputs_and_inputs, select
        from tunelab.training.inner.low_rank import LowRankOptimizer
        from tunelab.training.narrow.rounding import rounding_key
        from tunelab.training.optim import SharedRule
        from tunelab.training.projected import inner_optimizer

        inner, matrices = inner_optimizer(rule, kind="adamw"), {}
        basis = {"rank": self.rank, "kind": "random", "side": "std", "seed": getattr(model, _SEED)}
        for name, layer in select(model, self.targets, left_out=None).items():
            weight, name = layer.get_parameter("weight"), f"{name}.weight"
            projector = Projector(outputs_and_inputs(layer), name=name, **basis)
            low = LowRankOptimizer(projector.low_shape, dtype=torch.float32, device=weight.device, inner=inner)
            matrices[name] = Scaled(weight, is_transposed(layer), projector, low, rounding_key(model, name))
        others = SharedRule(model, rule, leave_out=set(matrices))
        return ScaledRule(self, matrices, others, rule)


class Scaled(NamedTuple):
    """A matrix, the projection of its gradient and Adam on that."""

    weight: nn.Parameter
    transposed: bool
    projector: Projector
    low: LowRankOptimizer
    key: int
    """Of the draws by which a weight in bf16 is rounded."""

    def channel_scaling(self, grad_OI: Tensor) -> Tensor:
        """|N_j| / |R_j| over the projected side, shape (O, 1) or (1, I); one number of shape (1, 1) for rank 1."""
        low, projected_side = self.projector.project(grad_OI), 1 if self.projector.sides == ("right",) else 0
        steps: list[Tensor] = []
        self.low.add(low)
        self.low.step(learning_rate=1.0, use=lambda step: steps.append(step.clone()))
        over = (0, 1) if self.projector.rank == 1 else projected_side
        lengths = [tensor.norm(dim=over, keepdim=True) for tensor in (steps[0], low)]
        return lengths[0] / lengths[1].clamp(min=1e-30)

    def bias_correction(self, rule: Optimizer) -> Tensor:
        """What Adam's last step is longer by than without (eps aside), fp64."""
        first, second = rule.betas
        count = self.low.inner.state[self.low.stand_in]["step"].to(self.weight.device).double()
        return (1.0 - second**count).sqrt() / (1.0 - first**count)


class ScaledRule(Updater):
    """Whole gradients are kept until the update, which needs them twice: for the scaling, and as the direction.
    Accumulation, the norm and clipping are therefore those of the shared rule."""

    def __init__(self, method: Apollo, matrices: dict[str, Scaled], others: SharedRule, rule: Optimizer) -> None:
        self.method, self.matrices, self.others, self.rule = method, matrices, others, rule
        self.step, self.summed = 0, False
        default = MINI_SCALE if method.rank == 1 else 1.0
        self.factor = (method.scale or default) ** 0.5
        self.lengths: dict[str, Tensor | float] = dict.fromkeys(matrices, 0.0)
        """Of each matrix's last update, without bias correction; fp64, on the device."""

    def _parameters(self) -> list[nn.Parameter]:
        found = [*(matrix.weight for matrix in self.matrices.values()), *self.others.parameters.values()]
        return [parameter for parameter in found if parameter.grad is not None]

    def _sum_over_ranks(self) -> None:
        from tunelab.training.ranks import sum_gradients

        if not self.summed:
            sum_gradients([matrix.weight for matrix in self.matrices.values()])
            self.others.sum_over_ranks()
            self.summed = True

    def gradient_norm(self) -> Tensor:
        from tunelab.training.ranks import total_norm

        self._sum_over_ranks()
        return total_norm(self.gradients())

    def gradients(self) -> list[Tensor]:
        from tunelab.training.optim import gradients

        return gradients(self._parameters())

    def forget(self) -> None:
        self.summed = False
        for matrix in self.matrices.values():
            matrix.weight.grad = None
        self.others.forget()

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        import torch

        from tunelab.training.ranks import clip, total_norm

        self._sum_over_ranks()
        if max_norm is not None:
            clip(self._parameters(), max_norm, total_norm(self.gradients()))
        with torch.no_grad():
            for name, matrix in self.matrices.items():
                self._move(name, matrix, learning_rate)
        self.others.update(learning_rate=learning_rate, max_norm=None)
        self.step, self.summed = self.step + 1, False

    def _move(self, name: str, matrix: Scaled, learning_rate: float) -> None:
        """A matrix without a gradient stays, as in torch's optimizers."""
        import torch

        from tunelab.training.narrow.rounding import moved

        if matrix.weight.grad is None:
            return
        grad, matrix.weight.grad = matrix.weight.grad.float(), None
        grad_OI = grad.t() if matrix.transposed else grad
        if self.step % self.method.update_gap == 0:
            matrix.projector.refresh(grad_OI)
        grad_OI.mul_(matrix.channel_scaling(grad_OI))
        length = grad.norm().double() / matrix.bias_correction(self.rule)
        before = self.lengths[name]
        if not isinstance(before, torch.Tensor):
            before = torch.full((), before, dtype=torch.float64, device=length.device)
        most = GROWTH * before.to(length.device)
        is_long = (most > 0.0) & (most < length)
        grad.mul_(torch.where(is_long, most / length, 1.0))
        self.lengths[name] = torch.where(is_long, most, length)
        with moved(matrix.weight, key=matrix.key, number=self.step + 1) as weight:
            weight.mul_(1.0 - learning_rate * self.rule.weight_decay)
            weight.add_(grad, alpha=-learning_rate * self.factor)

    def state(self) -> dict[str, torch.Tensor]:
        import torch

        from tunelab.training.projected import join

        lengths = torch.tensor([self.step, *map(float, self.lengths.values())], dtype=torch.float64)
        matrices = {
            name: join({"projector": matrix.projector.state(), "optimizer": matrix.low.state()})
            for name, matrix in self.matrices.items()
        }
        own = {"step_and_lengths": lengths}
        return join({"own": own, "matrices": join(matrices, "/"), "others": self.others.state()}, "/")

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        from tunelab.training.projected import split

        parts = split(state, "/")
        step, *lengths = parts["own"]["step_and_lengths"].tolist()
        self.step, self.lengths = int(step), dict(zip(self.matrices, lengths, strict=True))
        for name, part in split(parts["matrices"], "/").items():
            matrix, halves = self.matrices[name], split(part)
            matrix.projector.load_state(halves["projector"], device=matrix.weight.device)
            matrix.low.load_state(halves.get("optimizer", {}))
        self.others.load_state(parts.get("others", {}))

    def describe(self) -> list[dict[str, Any]]:
        from tunelab.training.narrow.rounding import HELD, is_narrow

        own = {
            "optimizer": "AdamW on randomly projected gradients, scaling whole ones",
            "group": "projected matrices",
            "parameters": sum(matrix.weight.numel() for matrix in self.matrices.values()),
            "weight_decay": self.rule.weight_decay,
            "betas": list(self.rule.betas),
            "eps": self.rule.eps,
            "rank": self.method.rank,
            "scaling": "one a matrix" if self.method.rank == 1 else "one a channel",
            "effective_rate": f"learning rate x {self.factor:g}",
            **({"weights": HELD} if any(is_narrow(matrix.weight) for matrix in self.matrices.values()) else {}),
        }
        return [own, *self.others.describe()]
