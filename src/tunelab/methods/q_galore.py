"""Q-GaLore: GaLore with int8 weights, 4-bit projectors and ever rarer refreshes (Zhang et al. 2024, arXiv:2407.08296).

Matrices exist as int8 codes only; every step is rounded into them at random. Saved as those codes in safetensors.

Gaps double as in the authors' q_galore_projector.py (VITA-Group/Q-GaLore dd09cd3): five cosines are looked at, they
stay after a doubling, and refreshes fall on multiples of the gap. Two things differ: cosines count without their sign,
which an SVD leaves open, and are those of bases in 4 bits, so that no direction is held beside them.
"""
# O out, I in, R rank

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tunelab.backend_contract import Updater
from tunelab.contracts import Method, OptimizerKind
from tunelab.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tunelab.config.schema import Optimizer
    from tunelab.models.int8 import Int8Linear

WEIGHTS, OPTIONS = "q_galore.safetensors", "q_galore.json"
_SEED = "projector_seed"
"""An attribute of the model: what the projectors' draws depend on beside the matrix's name."""


class QGalore(Method):
    learning_rate: PositiveFloat = 1.0e-4
    """Of the parameters that are not projected; that of the projected matrices is this times `scale`."""

    rank: PositiveInt = 64
    """R, of the projected gradients."""

    update_gap: PositiveInt = 200
    """Steps after which the basis is found again, at first."""

    patience: Annotated[float, Field(ge=0, le=1)] = 0.4
    """The gap of a matrix doubles at each refresh at which the leading direction's |cosine| to that of the refresh
    before is at least this, in the mean of the last five; 1: never, for directions that turn at all."""

    scale: PositiveFloat = 0.25
    """Factor on the update of the projected matrices."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which matrices are held in 8 bits and projected; every other parameter stays float and is trained."""

    projector: Literal["subspace", "svd", "random"] = "subspace"
    """As in galore; held in 4 bits, but random is drawn again whenever it is read."""

    optimizer: Literal["adamw", "adamw8bit"] = "adamw8bit"
    """With moments in 32 bits, or in 8 (those of fewer than 4,096 numbers stay in 32)."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r", "update_gap": "gap"}

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"rank": 8, "projector": "random"}  # golden losses: rounding turns a basis that is found

    @property
    def base_storage(self) -> Literal["int8"]:
        return "int8"

    @property
    def optimizer_kind(self) -> OptimizerKind:
        return self.optimizer

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        from tunelab.kernels.initial import generator
        from tunelab.models.int8 import Int8Linear
        from tunelab.models.targets import check_rank, is_quantised, is_transposed, select

        chosen = select(model, self.targets, left_out="stay in full precision, trained by the plain rule")
        check_rank(self.rank, chosen)
        for name in list(chosen):
            layer = chosen.pop(name)  # each float weight is freed before the next is read
            if is_quantised(layer):  # it was held before its weight was read
                continue
            key = int(generator(seed=seed, name=f"{name}.weight").integers(2**63))
            held = Int8Linear(layer, transposed=is_transposed(layer), key=key)
            model.set_submodule(name, held.train(layer.training))

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.whole import train_all

        self.hold(train_all(model), seed=seed)
        setattr(model, _SEED, seed)
        return model

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"holds in 8 bits and projects the gradients of": self.targets})

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater:
        from tunelab.kernels.projector import Projector
        from tunelab.training.optim import SharedRule
        from tunelab.training.projected import Projected, ProjectedRule, Settings, inner_optimizer

        settings = Settings(update_gap=self.update_gap, scale=self.scale, moments="keep", patience=self.patience)
        inner = inner_optimizer(rule, kind=self.optimizer)
        basis = {"rank": self.rank, "kind": self.projector, "side": "std", "seed": getattr(model, _SEED)}
        targets = {}
        for name, layer in _held(model).items():
            projector = Projector(layer.shape, name=f"{name}.weight", four_bits=True, **basis)
            targets[f"{name}.weight"] = Projected(layer, projector, settings, inner)
        notes = {"rank": self.rank, "projector": f"{self.projector}, 4 bits", "weights": "int8"}
        return ProjectedRule(targets, SharedRule(model, rule, kind=self.optimizer), rule, notes=notes)

    def state(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        return {
            f"{name}.{key}": value
            for name, layer in _held(model).items()
            for key, value in (("weight", layer.codes), ("scales", layer.scales), ("num_moves", layer.num_moves))
        }

    def load_state(self, model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
        for key, value in self.state(model).items():
            value.copy_(state[key])

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from safetensors.torch import save_file

        tensors = {**dict(model.named_parameters()), **self.state(model)}
        folder.mkdir(parents=True, exist_ok=True)
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / OPTIONS).write_text(json.dumps({"targets": self.targets, "rank": self.rank}, indent=2) + "\n")

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, Any] | None:
        file = folder / OPTIONS
        if not file.exists():
            return None
        saved = json.loads(file.read_text(encoding="utf-8"))
        targets = saved["targets"]
        return {**saved, "targets": targets if isinstance(targets, str) else tuple(targets)}

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        import torch

        from tunelab.kernels.peft_format import read_tensors

        if not (folder / WEIGHTS).exists():
            raise ModelError(f"{folder}: no {WEIGHTS} in it; a model that q_galore wrote is wanted")
        saved, tensors = read_tensors(folder / WEIGHTS), {**dict(model.named_parameters()), **self.state(model)}
        odd = sorted(
            key for key in saved.keys() | tensors.keys()
            if key not in saved or key not in tensors or saved[key].shape != tensors[key].shape
        )  # fmt: skip
        if odd:
            raise ModelError(f"{folder}: weights of another model or other targets (first: {odd[0]})")
        with torch.no_grad():
            for key, value in tensors.items():
                value.copy_(saved[key])

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        """Plain fp32 weights, dequantised."""
        model = copy.deepcopy(model)
        for name, layer in _held(model).items():
            model.set_submodule(name, layer.plain())
        return model


def _held(model: PreTrainedModel) -> dict[str, Int8Linear]:
    from tunelab.models.int8 import Int8Linear

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Int8Linear)}
