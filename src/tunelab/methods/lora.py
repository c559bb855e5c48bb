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

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tunelab.contracts import Method
from tunelab.errors import ConfigError
from tunelab.kernels.patterns import check_patterns, for_layer, for_part
from tunelab.kernels.peft_format import CHANGE_BASE, HALVES, PREFIX, WrittenLayer, shortest_names
from tunelab.models.saved_lora import OPTIONS, SAVED
from tunelab.records import LowRank

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from tunelab.backend_contract import Order, Session
    from tunelab.config.run import RunConfig
    from tunelab.config.schema import StudyConfig
    from tunelab.kernels.adapted_linear import AdaptedLinear

GAMMA = {"lora_ga": 16.0, "lora_one": 128.0}
"""Their authors' own."""
LOOK = (*GAMMA, "eva")
"""Starts that look at examples."""


class Lora(Method):
    learning_rate: PositiveFloat = 2.0e-4
    """About ten times that of full fine-tuning."""

    rank: PositiveInt = 8
    """R. Each adapted layer gains R * (I + O) trained parameters."""

    alpha: PositiveFloat = 16.0
    """The update is scaled by alpha / rank."""

    scaling: Literal["standard", "rslora"] = "standard"
    """alpha / rank, or alpha / sqrt(rank): rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732)."""

    init: Literal["default", "pissa", "olora", "lora_ga", "lora_one", "eva"] = "default"
    """How A and B start: pissa and olora from the weight, lora_ga and lora_one from its gradient, eva from the layer's
    inputs. docs/targets.md."""

    init_gamma: PositiveFloat | None = None
    """Of lora_ga (default: 16) and lora_one (128), whose authors use `scaling: rslora`; smaller: a larger start."""

    init_examples: PositiveInt | None = None
    """Single examples that lora_ga, lora_one and eva look at; default: those of one step."""

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
    """What of the base is trained too: embeddings, head, norms, biases, modules by name. See docs/targets.md."""

    also_rate: PositiveFloat = 1.0
    """What `also` names learns at this multiple of the learning rate."""

    trainable_token_indices: tuple[NonNegativeInt, ...] | dict[str, tuple[NonNegativeInt, ...]] = ()
    """Ids of tokens whose rows of the embedding are trained, at `also_rate` too; or `{lm_head: [3]}`. As PEFT's."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r"}
    hidden_at_default: ClassVar[tuple[str, ...]] = (
        "also", "also_rate", "init_gamma", "init_examples", "trainable_token_indices",
    )  # fmt: skip
    parallel: ClassVar[bool] = True
    shards: ClassVar[bool] = True
    written_by: ClassVar[str] = "lora"
    """`tunelab_method` in adapter_config.json, where a method derived from this one writes the same format."""

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.added_tokens import train_indices
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
        train_indices(model, self.trainable_token_indices)
        return model

    @property
    def prepares(self) -> bool:
        return self.init in LOOK

    @model_validator(mode="after")
    def _start_agrees(self) -> Lora:
        for name, inits in (("init_gamma", tuple(GAMMA)), ("init_examples", LOOK)):
            if getattr(self, name) is not None and self.init not in inits:
                raise ValueError(f"{name}: of init: {' and '.join(inits)} alone; leave it out")
        return self

    def problems(self, study: StudyConfig) -> list[str]:
        cut = self.prepares and study.launch.shard
        return [f"init: {self.init} starts from whole matrices, which launch.shard: true cuts"] if cut else []

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        """With lora_ga and lora_one: A and B from the gradients of the first step's examples; with eva A from what
        these give the layers."""
        if self.init == "eva":
            from tunelab.training.starts.inputs_of_layers import start_from_inputs

            start_from_inputs(session, order, examples=self.init_examples)
        elif self.prepares:
            from tunelab.training.starts.whole_gradients import start_from_gradients

            gamma = GAMMA[self.init] if self.init_gamma is None else self.init_gamma
            start_from_gradients(session, run, order, init=self.init, gamma=gamma, examples=self.init_examples)

    def state(self, model: PreTrainedModel) -> dict[str, Tensor]:
        from tunelab.kernels.adapters import taken_out

        return taken_out(model) if self.init == "lora_ga" else {}

    def load_state(self, model: PreTrainedModel, state: dict[str, Tensor]) -> None:
        from tunelab.kernels.adapters import take_out

        if self.init == "lora_ga":
            take_out(model, state)

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
        if self.also or self.trainable_token_indices:
            option = "also" if self.also else "trainable_token_indices"
            raise ConfigError(f"{option}: what is trained beside the adapters needs torch; leave it out")
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
        widened = 2 if self.init in CHANGE_BASE else 1
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
        from tunelab.models.saved_lora import read_options

        return read_options(folder, written_by=cls.written_by)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models.saved_lora import read_adapter

        read_adapter(model, folder, also=self.also)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        from tunelab.kernels.adapted_linear import merge_adapted
        from tunelab.models.added_tokens import fold_rows

        model = copy.deepcopy(model)
        merge_adapted(model)
        fold_rows(model)
        return model
