"""LoRA: W stays frozen; the update is a trained product of rank R (Hu et al. 2021, arXiv:2106.09685).

Checked against PEFT in tests/parity/test_lora.py, parts of fused layers against microsoft/LoRA's MergedLinear in
tests/parity/test_lora_parts.py; saved in PEFT's adapter format.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tunelab.contracts import Method
from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.patterns import check_patterns, for_layer, for_part
from tunelab.kernels.peft_format import HALVES, PREFIX, WrittenLayer, shortest_names
from tunelab.records import LowRank

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from tunelab.kernels.adapted_linear import AdaptedLinear

OPTIONS = "tunelab_options"
"""In adapter_config.json, where parts are adapted: these options, which PEFT's own fields cannot say. PEFT warns that
it does not know the key, and goes on."""
SAVED = ("rank", "alpha", "ranks", "alphas", "targets")
"""What OPTIONS holds."""
UNREAD = (
    "trainable_token_indices", "layer_replication", "lora_bias",
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
    """Other ranks by layer: the end of a module path, or a regular expression for it (PEFT's rank_pattern). A part
    (`c_attn.v`) has that of its layer, unless it is named itself."""

    alphas: dict[str, PositiveFloat] = {}
    """Other alphas by layer (PEFT's alpha_pattern)."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the low-rank branch's input dropped while training; above 0 costs activation memory."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which linear layers are adapted: all-linear, attention, a list of names, or a regular expression. A name can be
    a part of a fused layer, `c_attn.q`: it has A and B of its own, the rank each; see models/fused_parts.py."""

    also: str | tuple[str, ...] = ()
    """What of the base is trained beside the adapters, as it is: embeddings, head, norms, biases, or modules by name;
    one string that is none of these is a regular expression for module paths. docs/targets.md says more."""

    also_rate: PositiveFloat = 1.0
    """What `also` names learns at this multiple of the learning rate."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r"}
    hidden_at_default: ClassVar[tuple[str, ...]] = ("also", "also_rate")
    parallel: ClassVar[bool] = True
    shards: ClassVar[bool] = True
    written_by: ClassVar[str] = "lora"
    """`tunelab_method` in adapter_config.json, where a method derived from this one writes the same format."""

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.also import train_beside
        from tunelab.models.targets import select_parts

        chosen = select_parts(model, self.targets)
        parts = [f"{name}.{part}" for name, (_, parts) in chosen.items() for part in parts]
        self._check_patterns({name: rows for name, (_, rows) in chosen.items()})
        if parts and self.init != "default":
            rule = f"takes a part out of a layer's whole weight, and targets names {'.'.join(parts[0].split('.')[-2:])}"
            raise ConfigError(f"init: {self.init} {rule}; name whole layers, or use init: default")
        model.requires_grad_(False)
        for name, (layer, rows) in chosen.items():
            adapted = self._parted(layer, rows, name=name, seed=seed) if rows else self._adapted(layer, name, seed=seed)
            model.set_submodule(name, adapted)
        train_beside(model, self.also)
        return model

    def _adapted(self, layer: nn.Module, name: str, *, seed: int) -> AdaptedLinear:
        from tunelab.kernels.adapters import low_rank_layer
        from tunelab.models.targets import is_transposed

        rank, alpha = for_layer(self.ranks, name, self.rank), for_layer(self.alphas, name, self.alpha)
        return low_rank_layer(
            layer,
            transposed=is_transposed(layer),
            name=name,
            seed=seed,
            rank=rank,
            scale=alpha / self._divisor(rank),
            dropout=self.dropout,
            init=self.init,
        )

    def _parted(self, layer: nn.Module, rows: dict[str, slice], *, name: str, seed: int) -> AdaptedLinear:
        from tunelab.kernels.adapters import PartSizes, parted_layer
        from tunelab.models.targets import is_transposed

        parts = {}
        for part, own in rows.items():
            rank = for_part(self.ranks, name, part, self.rank)
            alpha = for_part(self.alphas, name, part, self.alpha)
            parts[part] = PartSizes(own, rank, alpha / self._divisor(rank))
        transposed = is_transposed(layer)
        return parted_layer(layer, transposed=transposed, name=name, seed=seed, parts=parts, dropout=self.dropout)

    def low_rank(
        self, layers: Mapping[str, tuple[int, int]], config: Mapping[str, Any]
    ) -> dict[str, tuple[LowRank, ...]]:
        from tunelab.models.targets import named_layers

        if self.init != "default":
            raise ConfigError(f"init: {self.init} needs torch; without it lora starts with init: default")
        if self.also:
            raise ConfigError("also: what is trained beside the adapters needs torch; leave it out")
        chosen = named_layers(layers, self.targets, config)
        self._check_patterns(chosen)
        return {
            name: tuple(self._low_rank(name, part, rows, layers[name][1]) for part, rows in parts.items())
            or (self._low_rank(name, "", slice(0, layers[name][0]), layers[name][1]),)
            for name, parts in chosen.items()
        }

    def _low_rank(self, layer: str, part: str, rows: slice, inputs: int) -> LowRank:
        name, size = f"{layer}.{part}" if part else layer, rows.stop - rows.start
        rank, alpha = for_layer(self.ranks, layer, self.rank), for_layer(self.alphas, layer, self.alpha)
        if part:
            rank, alpha = for_layer(self.ranks, name, rank), for_layer(self.alphas, name, alpha)
        if rank > min(size, inputs):
            raise ConfigError(f"rank: {rank} is larger than the matrix of {name} ({size} x {inputs})")
        return LowRank(name, rows, inputs, rank, alpha / self._divisor(rank))

    def _check_patterns(self, chosen: Mapping[str, Mapping[str, slice]]) -> None:
        parts = [f"{name}.{part}" for name, rows in chosen.items() for part in rows]
        check_patterns("ranks", self.ranks, chosen, parts)
        check_patterns("alphas", self.alphas, chosen, parts)

    def _divisor(self, rank: int) -> float:
        """Of alpha."""
        return math.sqrt(rank) if self.scaling == "rslora" else rank

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.also import remarks
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"adapts": self.targets}) + remarks(model, self.also)

    def rate_of(self, name: str) -> float:
        return {"lora_A": 1.0, "lora_B": self.b_rate}.get(name.rpartition(".")[2], self.also_rate)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from safetensors.torch import save_file

        from tunelab.kernels.adapted_linear import adapted_layers
        from tunelab.kernels.adapters import saved_factors
        from tunelab.models.also import beside, peft_fields
        from tunelab.models.targets import linear_layers

        layers, more = adapted_layers(model), beside(model, self.also)
        factors = {
            f"{PREFIX}{name}.{half}.weight": value
            for name, layer in layers.items()
            for half, value in zip(HALVES, saved_factors(layer), strict=True)
        }
        # clones: safetensors refuses tensors that share memory, as tied ones do
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in (factors | more.tensors()).items()}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        written = {
            name: WrittenLayer(len(layer.factors.a_RI), layer.scale, layer.transposed, bool(layer.parts))
            for name, layer in layers.items()
        }
        config = self.peft_config(
            written,
            base_model=model.config._name_or_path,
            target_modules=shortest_names(linear_layers(model), list(layers)),
            encoder_decoder=model.config.is_encoder_decoder,
        ) | peft_fields(more, encoder_decoder=model.config.is_encoder_decoder)
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")

    def peft_config(
        self,
        layers: Mapping[str, WrittenLayer],
        *,
        base_model: str,
        target_modules: list[str],
        encoder_decoder: bool = False,
    ) -> dict[str, object]:
        """The fields of peft.LoraConfig that say what was trained."""
        return {
            "peft_type": "LORA",
            "task_type": "SEQ_2_SEQ_LM" if encoder_decoder else "CAUSAL_LM",
            "base_model_name_or_path": base_model,
            **(self._ranks_of(layers) if any(layer.parted for layer in layers.values()) else self._own_ranks()),
            "use_rslora": self.scaling == "rslora",
            "lora_dropout": self.dropout,
            "target_modules": target_modules,
            "fan_in_fan_out": any(layer.transposed for layer in layers.values()),
            "bias": "none",
            "inference_mode": True,
        }

    def _own_ranks(self) -> dict[str, object]:
        """A changed base is saved as twice the rank, with the alpha that leaves the scale as it was."""
        widened = 1 if self.init == "default" else 2
        stronger = math.sqrt(widened) if self.scaling == "rslora" else widened
        return {
            "r": widened * self.rank,
            "lora_alpha": stronger * self.alpha,
            "rank_pattern": {pattern: widened * rank for pattern, rank in self.ranks.items()},
            "alpha_pattern": {pattern: stronger * alpha for pattern, alpha in self.alphas.items()},
        }

    def _ranks_of(self, layers: Mapping[str, WrittenLayer]) -> dict[str, object]:
        """A layer with parts has all their ranks, with the alpha that leaves the scale as it was. Layers that differ
        from most are named one by one: no pattern of ours tells whole layers from parts."""
        ranks = {name: layer.rank for name, layer in layers.items()}
        alphas = {name: layer.scale * self._divisor(ranks[name]) for name, layer in layers.items()}
        rank, alpha = (Counter(each.values()).most_common(1)[0][0] for each in (ranks, alphas))
        return {
            "r": rank,
            "lora_alpha": alpha,
            "rank_pattern": {name: each for name, each in ranks.items() if each != rank},
            "alpha_pattern": {name: each for name, each in alphas.items() if each != alpha},
            OPTIONS: self.model_dump(mode="json", include=set(SAVED)),
        }

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, object] | None:
        from tunelab.models.also import saved_also

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
        own = {
            "rank": saved["r"],
            "alpha": float(saved["lora_alpha"]),
            "ranks": saved.get("rank_pattern") or {},
            "alphas": saved.get("alpha_pattern") or {},
            "targets": saved["target_modules"],
        } | saved.get(OPTIONS, {})
        return own | {
            "also": saved_also(folder, saved),
            "scaling": "rslora" if saved.get("use_rslora") else "standard",
            "dropout": saved.get("lora_dropout", 0.0),
            "targets": own["targets"] if isinstance(own["targets"], str) else tuple(own["targets"]),
        }

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        from tunelab.kernels.adapted_linear import adapted_layers
        from tunelab.kernels.adapters import load_factors, saved_factors
        from tunelab.models.also import is_beside, load_beside

        file = folder / "adapter_model.safetensors"
        if not file.exists():
            raise ModelError(f"{folder}: no adapter_model.safetensors in it; a LoRA adapter in PEFT's format is wanted")
        tensors = load_file(file)
        layers = adapted_layers(model)
        wanted = {f"{PREFIX}{name}.{half}.weight" for name in layers for half in HALVES}
        load_beside(model, self.also, tensors, folder)
        found = {key for key in tensors if not is_beside(key)}
        if wanted != found:
            odd = sorted(wanted ^ found)[0]
            raise ModelError(f"{folder}: adapts other layers than this model and these targets (first: {odd})")
        with torch.no_grad():
            for name, layer in layers.items():
                saved = [tensors[f"{PREFIX}{name}.{half}.weight"] for half in HALVES]
                for half, own, value in zip(HALVES, saved_factors(layer), saved, strict=True):
                    if own.shape != value.shape:
                        shapes = f"{tuple(value.shape)}, not {tuple(own.shape)}"
                        raise ModelError(f"{folder}: {half} of {name} has shape {shapes}; another rank or model")
                if not load_factors(layer, *saved):
                    rule = f"B is not zero outside {', '.join(layer.part_names)}, the parts that are adapted"
                    raise ModelError(f"{folder}: {name}: {rule}; whole layers were trained: load it with PEFT")

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        from tunelab.kernels.adapted_linear import merge_adapted

        model = copy.deepcopy(model)
        merge_adapted(model)
        return model
