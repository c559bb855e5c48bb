"""QLoRA: LoRA over a base held in 4 bits, nf4 with double quantisation (Dettmers et al. 2023, arXiv:2305.14314).

Every linear layer but the output head is quantised, as bitsandbytes does it; products are in the run's precision.
Checked against PEFT on bitsandbytes' layers in tests/methods/test_qlora.py; saved in PEFT's adapter format.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from tunelab.contracts import OptimizerKind
from tunelab.errors import ModelError
from tunelab.kernels.peft_format import WrittenLayer
from tunelab.methods.lora import Lora

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from tunelab.models.quantise import Nf4Linear


LEFT_OUT = "stay frozen, in full precision"


class Qlora(Lora):
    learning_rate: PositiveFloat = 2.0e-4
    """The paper's for 7 and 13 billion weights; half of it above."""

    rank: PositiveInt = 64
    """R, the paper's. Each adapted layer gains R * (I + O) trained parameters."""

    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = "adamw"
    """Of the adapter: AdamW with moments in 32 bits, in 8 bits, or in 8 bits that CUDA moves to the host when full."""

    merge_base: Literal["dequantised", "original"] = "dequantised"
    """What the update is added to by `merged`. dequantised: the base that was trained on, so nothing changes.
    original: the model's own weights, read again; nearer to the base, but the adapter was trained around the
    quantisation's error, so the result computes something else than what was trained."""

    written_by: ClassVar[str] = "qlora"
    shards: ClassVar[bool] = False

    @classmethod
    def example(cls) -> dict[str, int]:
        return {"rank": 8}

    @property
    def base_storage(self) -> Literal["nf4"]:
        return "nf4"

    @property
    def optimizer_kind(self) -> OptimizerKind:
        return self.optimizer

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        from tunelab.models.streamed import hold_in_nf4

        hold_in_nf4(model)

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.quantise import quantise_model
        from tunelab.models.targets import select_parts

        select_parts(model, self.targets, left_out=LEFT_OUT)  # what does not fit is said before the work
        return super().attach(quantise_model(model), seed=seed)

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.quantise import float_remarks
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"adapts": self.targets, "holds in 4 bits": ".*"}) + float_remarks(model)

    def peft_config(self, layers: Mapping[str, WrittenLayer], **more: Any) -> dict[str, object]:
        """PEFT does not know the last key, says so in a warning and goes on."""
        return {**super().peft_config(layers, **more), "tunelab_method": self.written_by}

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        """Plain fp32 weights; the given model is left as it is.

        Raises:
            ModelError: `merge_base: original`, and the original weights cannot be read or are other ones.
        """
        from tunelab.kernels.adapted_linear import adapted_layers, merge_adapted
        from tunelab.models.added_tokens import fold_rows
        from tunelab.models.quantise import Nf4Linear, dequantise_model

        merged = copy.deepcopy(model)
        if self.merge_base == "original":
            originals, adapted = _original_layers(model), adapted_layers(merged)
            quantised = {name: layer for name, layer in merged.named_modules() if isinstance(layer, Nf4Linear)}
            for name, base in quantised.items():
                path = name.removesuffix(".base")  # of an adapted layer
                change = adapted[path].delta() if path in adapted else 0.0
                weight_OI = _original_weight(originals.pop(path), base, name=path)
                merged.set_submodule(path, base.plain((weight_OI + change).detach()))
        merge_adapted(merged)
        fold_rows(merged)
        dequantise_model(merged)
        return merged


def _original_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The linear layers of the model's files, read again."""
    from tunelab.config.schema import ModelSource
    from tunelab.models.load import load_model, locate
    from tunelab.models.targets import linear_layers

    name = model.config._name_or_path
    if not name:
        raise ModelError(
            "merge_base: original: this model does not say where its weights lie; use merge_base: dequantised"
        )
    source = ModelSource(name=name)
    return linear_layers(load_model(source, locate(source), seed=0))


def _original_weight(layer: nn.Module, base: Nf4Linear, *, name: str) -> Tensor:
    """fp32, shape (O, I), of the layer that `base` was made from: quantised again it gives the same codes."""
    import torch

    from tunelab.models.quantise import Nf4Linear
    from tunelab.models.targets import is_transposed, outputs_and_inputs

    if outputs_and_inputs(layer) == base.shape:
        again = Nf4Linear(layer.to(base.codes.device), transposed=is_transposed(layer))
        if again.codes.equal(base.codes):
            weight = layer.get_parameter("weight").detach()
            return (weight.t() if base.transposed else weight).to(torch.float32, copy=True)
    raise ModelError(
        f"merge_base: original: {name} there is not what this adapter was trained on (another revision, or weights "
        "drawn at random); use merge_base: dequantised"
    )
