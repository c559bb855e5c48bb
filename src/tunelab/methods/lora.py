"""LoRA: W stays frozen; the update is a trained product of rank R (Hu et al. 2021, arXiv:2106.09685).

Checked against PEFT in tests/parity/test_lora.py; saved in PEFT's adapter format.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from tunelab.contracts import Method
from tunelab.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from tunelab.kernels.adapted_linear import AdaptedLinear

PREFIX = "base_model.model."


class Lora(Method):
    learning_rate: PositiveFloat = 2.0e-4
    """About ten times that of full fine-tuning."""

    rank: PositiveInt = 8
    """R. Each adapted layer gains R * (I + O) trained parameters."""

    alpha: PositiveFloat = 16.0
    """The update is scaled by alpha / rank."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the low-rank branch's input dropped while training; above 0 costs activation memory."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which linear layers are adapted: all-linear, attention, a list of names, or a regular expression."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r"}
    written_by: ClassVar[str] = "lora"
    """`tunelab_method` in adapter_config.json, where a method derived from this one writes the same format."""

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.targets import select

        chosen = select(model, self.targets)
        model.requires_grad_(False)
        for name, layer in chosen.items():
            model.set_submodule(name, self._adapted(layer, name=name, seed=seed))
        return model

    def _adapted(self, layer: nn.Module, *, name: str, seed: int) -> AdaptedLinear:
        import torch

        from tunelab.kernels.adapted_linear import AdaptedLinear
        from tunelab.kernels.initial import kaiming_uniform
        from tunelab.models.targets import is_transposed, outputs_and_inputs

        outputs, inputs = outputs_and_inputs(layer)
        if self.rank > min(inputs, outputs):
            raise ConfigError(f"rank: {self.rank} is larger than the matrix of {name} ({outputs} x {inputs})")
        device = next(layer.buffers(), layer.weight).device  # a quantised layer has buffers and no weight
        if device.type == "meta":
            first = torch.empty(self.rank, inputs, device=device)
        else:
            values = kaiming_uniform(seed=seed, name=f"{name}.lora_A", shape=(self.rank, inputs))
            first = torch.from_numpy(values).to(device)
        return AdaptedLinear(
            layer,
            lora_A=first,
            lora_B=torch.zeros(outputs, self.rank, device=device),
            scale=self.alpha / self.rank,
            dropout=self.dropout,
            transposed=is_transposed(layer),
        )

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from safetensors.torch import save_file

        layers = _adapted_layers(model)
        tensors = {
            f"{PREFIX}{name}.{half}.weight": getattr(layer, half).detach().cpu().contiguous()
            for name, layer in layers.items()
            for half in ("lora_A", "lora_B")
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(self._peft_config(model, layers), indent=2) + "\n")

    def _peft_config(self, model: PreTrainedModel, layers: dict[str, AdaptedLinear]) -> dict[str, object]:
        """The fields of peft.LoraConfig that say what was trained."""
        from tunelab.models.targets import shortest_names

        return {
            "peft_type": "LORA",
            "task_type": "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
            "base_model_name_or_path": model.config._name_or_path,
            "r": self.rank,
            "lora_alpha": self.alpha,
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
        if saved.get("peft_type") != "LORA" or saved.get("tunelab_method", "lora") != cls.written_by:
            return None
        for field in ("alpha_pattern", "rank_pattern", "use_dora", "modules_to_save"):
            if saved.get(field):
                raise ModelError(f"{file}: {field} is set, and lora here has one rank and alpha for all layers")
        rank, alpha, targets = saved["r"], float(saved["lora_alpha"]), saved["target_modules"]
        return {
            "rank": rank,
            "alpha": alpha * rank**0.5 if saved.get("use_rslora") else alpha,  # rank-stabilised: alpha / sqrt(rank)
            "dropout": saved.get("lora_dropout", 0.0),
            "targets": targets if isinstance(targets, str) else tuple(targets),
        }

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        file = folder / "adapter_model.safetensors"
        if not file.exists():
            raise ModelError(f"{folder}: no adapter_model.safetensors in it; a LoRA adapter in PEFT's format is wanted")
        tensors = load_file(file)
        layers = _adapted_layers(model)
        wanted = {f"{PREFIX}{name}.{half}.weight" for name in layers for half in ("lora_A", "lora_B")}
        if wanted != set(tensors):
            odd = sorted(wanted ^ set(tensors))[0]
            raise ModelError(f"{folder}: adapts other layers than this model and these targets (first: {odd})")
        with torch.no_grad():
            for name, layer in layers.items():
                for half in ("lora_A", "lora_B"):
                    parameter, value = getattr(layer, half), tensors[f"{PREFIX}{name}.{half}.weight"]
                    if parameter.shape != value.shape:
                        shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                        raise ModelError(f"{folder}: {half} of {name} has shape {shapes}; another rank or model")
                    parameter.copy_(value)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        import torch

        model = copy.deepcopy(model)
        for name, layer in _adapted_layers(model).items():
            base = layer.base
            with torch.no_grad():
                base.weight = torch.nn.Parameter(base.weight.float() + layer.delta(), requires_grad=False)
            model.set_submodule(name, base)
        return model


def _adapted_layers(model: PreTrainedModel) -> dict[str, AdaptedLinear]:
    from tunelab.kernels.adapted_linear import AdaptedLinear

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}
