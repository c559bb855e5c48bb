"""GaLore: every weight is trained, matrices by gradients projected to rank R (Zhao et al. 2024, arXiv:2403.03507).

Checked against galore-torch 1.0 in tests/parity/test_galore_torch.py. Gradients are projected during backward, one
layer at a time, bases are found from whole steps; see training/projected.py. Weights are saved whole, as in full
fine-tuning.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from tunelab.backend_contract import Updater
from tunelab.contracts import OptimizerKind
from tunelab.models.whole import WholeModel, train_all

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunelab.config.schema import Optimizer

_SEED = "projector_seed"
"""An attribute of the model: what the projectors' draws depend on beside the matrix's name."""


class Galore(WholeModel):
    learning_rate: PositiveFloat = 1.0e-4
    """Of the parameters that are not projected; that of the projected matrices is this times `scale`."""

    rank: PositiveInt = 64
    """R. An O x I matrix keeps R * (min(O, I) + 2 * max(O, I)) numbers beside its weights, with AdamW inside."""

    update_gap: PositiveInt = 200
    """Steps after which the basis is found again, from the step's whole gradient: one that is cut into micro-batches is
    then gone through a few times more, at the memory of one block (benchmarks/galore_basis.py)."""

    scale: PositiveFloat = 0.25
    """Factor on the update of the projected matrices; unlike LoRA's alpha / rank it does not depend on R."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which matrices are projected: all-linear, attention, a list of names, or a regular expression."""

    projector: Literal["subspace", "svd", "random", "identity"] = "subspace"
    """subspace: power iteration from the previous basis; svd: exact, as published; random: Gaussian; identity: none."""

    side: Literal["std", "reverse_std", "left", "right", "full"] = "std"
    """Which side of a matrix is projected: std the shorter one, reverse_std the longer; full: both."""

    moments: Literal["keep", "rotate", "reset"] = "keep"
    """When the basis changes: keep them as they are (as published), rotate them into the new basis, or start anew."""

    optimizer: Literal["adamw", "adamw8bit", "adafactor"] = "adamw"
    """What turns projected gradients into steps; the other parameters use it too."""

    other: Literal["train", "freeze"] = "train"
    """Embeddings, norms, biases, output head and matrices that are no target."""

    other_rate: PositiveFloat = 1.0
    """Learning rate of those, as a multiple of `learning_rate`."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r", "update_gap": "gap"}
    parallel: ClassVar[bool] = True
    narrow_weights: ClassVar[bool] = True
    shards: ClassVar[bool] = True

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"rank": 8, "projector": "random"}  # golden losses: rounding turns a basis that is found

    @model_validator(mode="after")
    def _moments_can_be_rotated(self) -> Galore:
        if self.moments == "rotate" and (self.optimizer != "adamw" or self.projector not in ("subspace", "svd")):
            raise ValueError(
                f"moments: rotate needs optimizer adamw and an orthonormal projector (subspace, svd), not "
                f"{self.optimizer} and {self.projector}; keep and reset work with all"
            )
        return self

    @property
    def optimizer_kind(self) -> OptimizerKind:
        return self.optimizer

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.targets import check_rank, select

        chosen = select(model, self.targets, left_out="stay frozen" if self.other == "freeze" else None)
        if self.projector != "identity":
            check_rank(self.rank, chosen)
        model.requires_grad_(False)
        if self.other == "train":
            train_all(model)
        for layer in chosen.values():
            layer.get_parameter("weight").requires_grad_(True)
        setattr(model, _SEED, seed)
        return model

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"projects the gradients of": self.targets})

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater:
        from tunelab.kernels.projector import Projector
        from tunelab.models.targets import is_transposed, select
        from tunelab.training.matrices import NarrowMatrix, matrix_of
        from tunelab.training.narrow.rounding import HELD, rounding_key
        from tunelab.training.optim import SharedRule, trained_parameters
        from tunelab.training.projected import Projected, ProjectedRule, Settings, inner_optimizer

        settings = Settings(
            update_gap=self.update_gap,
            scale=self.scale,
            moments=self.moments,
            relative=self.optimizer == "adafactor",
        )
        inner = inner_optimizer(rule, kind=self.optimizer)
        basis = {"rank": self.rank, "kind": self.projector, "side": self.side, "seed": getattr(model, _SEED)}
        targets = {}
        for name, layer in select(model, self.targets, left_out=None).items():
            name = f"{name}.weight"
            key = rounding_key(model, name)
            matrix = matrix_of(layer.get_parameter("weight"), transposed=is_transposed(layer), key=key)
            targets[name] = Projected(matrix, Projector(matrix.shape, name=name, **basis), settings, inner)
        others = None
        if set(trained_parameters(model)) - set(targets):
            rate = self.other_rate
            others = SharedRule(model, rule, kind=self.optimizer, rate_of=lambda name: rate, leave_out=set(targets))
        notes: dict[str, Any] = {"rank": self.rank, "projector": self.projector, "side": self.side}
        if any(isinstance(target.matrix, NarrowMatrix) for target in targets.values()):
            notes["weights"] = HELD
        return ProjectedRule(targets, others, rule, notes=notes)
