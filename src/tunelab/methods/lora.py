"""LoRA: W stays frozen; the update is a trained product of rank R (Hu et al. 2021, arXiv:2106.09685).

Checked against PEFT in tests/parity/test_lora.py; saved in PEFT's adapter format.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tunelab.contracts import Method
from tunelab.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from tunelab.kernels.adapted_linear import AdaptedLinear

PREFIX = "base_model.model."
HALVES = ("lora_A", "lora_B")
UNREAD = (
    "modules_to_save", "trainable_token_indices", "layer_replication", "bias", "lora_bias",
    "alora_invocation_tokens", "layers_to_transform", "exclude_modules", "use_qalora", "use_bdlora", "arrow_config",
    "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
"""Fields of peft.LoraConfig that change the model, and that this method does not have."""
CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Starts of PEFT's init_lora_weights after which an adapter fits a changed base only, unless converted."""


class Lora(Method):
    learning_rate: PositiveFloat = 2.0e-4
    """About ten times that of full fine-tuning."""

    rank: PositiveInt = 8
    """R. Each adapted layer gains R * (I + O) trained parameters."""

    alpha: PositiveFloat = 16.0
    """The update is scaled by alpha / rank."""

    scaling: Literal["standard", "rslora"] = "standard"
    """alpha / rank, or alpha / sqrt(rank): rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732)."""

    init: Literal["default", "pissa", "olora"] = "default"
    """How A and B start; pissa and olora take s B0 A0 out of the frozen weight. See kernels/adapters.py."""

    b_rate: PositiveFloat = 1.0
    """B learns at this multiple of the learning rate: LoRA+ (Hayou et al. 2024, arXiv:2402.12354; published: 16)."""

    ranks: dict[str, PositiveInt] = {}
    """Other ranks by layer: the end of a module path, or a regular expression for it (PEFT's rank_pattern)."""

    alphas: dict[str, PositiveFloat] = {}
    """Other alphas by layer (PEFT's alpha_pattern)."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the low-rank branch's input dropped while training; above 0 costs activation memory."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which linear layers are adapted: all-linear, attention, a list of names, or a regular expression."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r"}
    parallel: ClassVar[bool] = True
    shards: ClassVar[bool] = True
    written_by: ClassVar[str] = "lora"
    """`tunelab_method` in adapter_config.json, where a method derived from this one writes the same format."""

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.kernels.adapters import check_patterns
        from tunelab.models.targets import select

        chosen = select(model, self.targets)
        check_patterns("ranks", self.ranks, chosen)
        check_patterns("alphas", self.alphas, chosen)
        model.requires_grad_(False)
        for name, layer in chosen.items():
            model.set_submodule(name, self._adapted(layer, name=name, seed=seed))
        return model

    def _adapted(self, layer: nn.Module, *, name: str, seed: int) -> AdaptedLinear:
        from tunelab.kernels.adapters import for_layer, low_rank_layer
        from tunelab.models.targets import is_transposed

        rank, alpha = for_layer(self.ranks, name, self.rank), for_layer(self.alphas, name, self.alpha)
        return low_rank_layer(
            layer,
            transposed=is_transposed(layer),
            name=name,
            seed=seed,
            rank=rank,
            scale=alpha / (math.sqrt(rank) if self.scaling == "rslora" else rank),
            dropout=self.dropout,
            init=self.init,
        )

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"adapts": self.targets})

    def rate_of(self, name: str) -> float:
        return self.b_rate if name.endswith(".lora_B") else 1.0

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from safetensors.torch import save_file

        from tunelab.kernels.adapted_linear import adapted_layers

        layers = adapted_layers(model)
        tensors = {
            f"{PREFIX}{name}.{half}.weight": value.detach().cpu().contiguous()
            for name, layer in layers.items()
            for half, value in zip(HALVES, _saved_factors(layer), strict=True)
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(self._peft_config(model, layers), indent=2) + "\n")

    def _peft_config(self, model: PreTrainedModel, layers: dict[str, AdaptedLinear]) -> dict[str, object]:
        """The fields of peft.LoraConfig that say what was trained. A changed base is saved as twice the rank, with
        the alpha that leaves the scale as it was."""
        from tunelab.models.targets import shortest_names

        widened = 1 if self.init == "default" else 2
        stronger = math.sqrt(widened) if self.scaling == "rslora" else widened
        return {
            "peft_type": "LORA",
            "task_type": "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
            "base_model_name_or_path": model.config._name_or_path,
            "r": widened * self.rank,
            "lora_alpha": stronger * self.alpha,
            "rank_pattern": {pattern: widened * rank for pattern, rank in self.ranks.items()},
            "alpha_pattern": {pattern: stronger * alpha for pattern, alpha in self.alphas.items()},
            "use_rslora": self.scaling == "rslora",
            "lora_dropout": self.dropout,
            "target_modules": shortest_names(model, list(layers)),
            "fan_in_fan_out": any(layer.transposed for layer in layers.values()),
            "bias": "none",
            "inference_mode": True,
        }

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, object] | None:
        file = folder / "adapter_config.json"
        saved = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if saved.get("peft_type") != "LORA" or saved.get("use_dora") or saved.get("target_parameters"):
            return None
        if saved.get("tunelab_method", "lora") != cls.written_by:
            return None
        for field in UNREAD:
            if saved.get(field) not in (None, False, [], {}, "none"):
                raise ModelError(f"{file}: {field} is {saved[field]!r}, which lora here cannot do; load it with PEFT")
        start = saved.get("init_lora_weights")
        if isinstance(start, str) and start.startswith(CHANGES_BASE):
            way = "save it with path_initial_model_for_weight_conversion"
            raise ModelError(f"{file}: init_lora_weights is {start!r}, so the adapter fits a changed base only; {way}")
        targets = saved["target_modules"]
        return {
            "rank": saved["r"],
            "alpha": float(saved["lora_alpha"]),
            "scaling": "rslora" if saved.get("use_rslora") else "standard",
            "ranks": saved.get("rank_pattern") or {},
            "alphas": saved.get("alpha_pattern") or {},
            "dropout": saved.get("lora_dropout", 0.0),
            "targets": targets if isinstance(targets, str) else tuple(targets),
        }

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        from tunelab.kernels.adapted_linear import adapted_layers

        file = folder / "adapter_model.safetensors"
        if not file.exists():
            raise ModelError(f"{folder}: no adapter_model.safetensors in it; a LoRA adapter in PEFT's format is wanted")
        tensors = load_file(file)
        layers = adapted_layers(model)
        wanted = {f"{PREFIX}{name}.{half}.weight" for name in layers for half in HALVES}
        if wanted != set(tensors):
            odd = sorted(wanted ^ set(tensors))[0]
            raise ModelError(f"{folder}: adapts other layers than this model and these targets (first: {odd})")
        with torch.no_grad():
            for name, layer in layers.items():
                saved = [tensors[f"{PREFIX}{name}.{half}.weight"] for half in HALVES]
                for half, own, value in zip(HALVES, _saved_factors(layer), saved, strict=True):
                    if own.shape != value.shape:
                        shapes = f"{tuple(value.shape)}, not {tuple(own.shape)}"
                        raise ModelError(f"{folder}: {half} of {name} has shape {shapes}; another rank or model")
                _load_factors(layer, *saved)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        from tunelab.kernels.adapted_linear import merge_adapted

        model = copy.deepcopy(model)
        merge_adapted(model)
        return model


def _saved_factors(layer: AdaptedLinear) -> tuple[Tensor, Tensor]:
    """A and B for the untouched base: where s B0 A0 was taken out of it, [A; A0] and [B, -B0], as PEFT converts."""
    import torch

    from tunelab.kernels.adapters import initial

    own, start = layer.factors, initial(layer)
    if start is None:
        return own
    return torch.cat([own.a_RI, start.a_RI]), torch.cat([own.b_OR, -start.b_OR], dim=1)


def _load_factors(layer: AdaptedLinear, a_RI: Tensor, b_OR: Tensor) -> None:
    from tunelab.kernels.adapters import Factors, initial, restart_from

    own = layer.factors
    rank, device = len(own.a_RI), own.a_RI.device
    own.a_RI.copy_(a_RI[:rank])
    own.b_OR.copy_(b_OR[:, :rank])
    if initial(layer) is not None:
        restart_from(layer, Factors(a_RI[rank:].to(device), -b_OR[:, rank:].to(device)))
