"""DoRA: LoRA gives a weight its direction, each row's length is trained apart (Liu et al. 2024, arXiv:2402.09353).

The layers are PEFT's (LoraConfig(use_dora=True)); A starts with the very values that `lora` gives it.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from tunelab.contracts import Method
from tunelab.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Dora(Method):
    learning_rate: PositiveFloat = 2.0e-4
    """As LoRA's."""

    rank: PositiveInt = 8
    """R. Each adapted layer gains R * (I + O) + O trained parameters."""

    alpha: PositiveFloat = 16.0
    """The low-rank part of the direction is scaled by alpha / rank."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the low-rank branch's input dropped while training."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which linear layers are adapted: all-linear, attention, a list of names, or a regular expression."""

    also: str | tuple[str, ...] = ()
    """What of the base is trained too: embeddings, head, norms, biases, modules by name. See docs/targets.md."""

    also_rate: PositiveFloat = 1.0
    """What `also` names learns at this multiple of the learning rate."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r"}
    hidden_at_default: ClassVar[tuple[str, ...]] = ("also", "also_rate")
    parallel: ClassVar[bool] = True

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        import torch

        from tunelab.kernels.initial import kaiming_uniform
        from tunelab.kernels.peft_format import shortest_names
        from tunelab.models import peft_tuners
        from tunelab.models.also import train_beside
        from tunelab.models.bitsandbytes_import import import_bitsandbytes
        from tunelab.models.targets import check_rank, is_transposed, linear_layers, select

        import_bitsandbytes()
        import peft

        chosen = select(model, self.targets)
        check_rank(self.rank, chosen)
        config = peft.LoraConfig(
            use_dora=True,
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType]  PEFT divides it by the rank: any float will do
            lora_dropout=self.dropout,
            target_modules=shortest_names(linear_layers(model), list(chosen)),
            fan_in_fan_out=any(is_transposed(layer) for layer in chosen.values()),
        )
        model = peft_tuners.attach(model, config, seed=seed)
        for name in chosen:
            first = model.get_parameter(f"{name}.lora_A.{peft_tuners.ADAPTER}.weight")
            if first.device.type != "meta":
                rank, inputs = first.shape
                values = kaiming_uniform(seed=seed, name=f"{name}.lora_A", shape=(rank, inputs))
                first.data.copy_(torch.from_numpy(values))
        train_beside(model, self.also)
        return model

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.also import remarks
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"adapts": self.targets}) + remarks(model, self.also)

    def rate_of(self, name: str) -> float:
        return 1.0 if ".lora_" in name else self.also_rate

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, Any] | None:
        from tunelab.kernels.peft_format import read_config
        from tunelab.models.also import saved_also

        saved = read_config(folder)
        if saved.get("peft_type") != "LORA" or not saved.get("use_dora"):
            return None
        for field in ("alpha_pattern", "rank_pattern", "trainable_token_indices", "use_rslora", "lora_bias"):
            if saved.get(field) not in (None, False, [], {}, "none"):
                raise ModelError(f"{folder}: {field} is {saved[field]!r}, which dora here cannot do; load it with PEFT")
        start = saved.get("init_lora_weights", True)
        if not isinstance(start, bool) and start not in ("gaussian", "orthogonal", "eva"):
            raise ModelError(f"{folder}: init_lora_weights is {start!r}, so the adapter fits a changed base only")
        targets = saved["target_modules"]
        return {
            "rank": saved["r"],
            "alpha": float(saved["lora_alpha"]),
            "dropout": saved.get("lora_dropout", 0.0),
            "targets": targets if isinstance(targets, str) else tuple(targets),
            "also": saved_also(folder, saved),
        }

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models import peft_tuners
        from tunelab.models.also import add_to_adapter, beside

        peft_tuners.save(model, folder)
        add_to_adapter(folder, beside(model, self.also), encoder_decoder=model.config.is_encoder_decoder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models import peft_tuners
        from tunelab.models.also import is_beside, load_beside

        load_beside(model, self.also, peft_tuners.load(model, folder, leave_out=is_beside), folder)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        from tunelab.models import peft_tuners
        from tunelab.models.added_tokens import fold_rows

        plain = peft_tuners.merged(model)
        fold_rows(plain)
        return plain
