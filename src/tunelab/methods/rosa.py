"""RoSA: W stays frozen; the update is a low-rank product plus sparse values (Nikdan et al. 2024, arXiv:2401.04679).

Positions are those where gradients are largest after a low-rank warm-up; then everything starts again, so that
training sees what every method sees. Saved as safetensors + JSON; the layout is in kernels/adapter_file.py.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tunelab.contracts import Method
from tunelab.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from tunelab.backend_contract import Order, Session
    from tunelab.config.run import RunConfig
    from tunelab.config.schema import StudyConfig
    from tunelab.kernels.adapted_linear import AdaptedLinear

NAME = "rosa"
LOW_RANK_RATIO = 3.5
"""Published learning rates: 7e-4 for the low-rank part, 2e-4 for the sparse one."""
MOST_WARMUP = 64
NOT_SAVED = {"mask_from", "mask_gradient", "mask_examples", "warmup_steps"}
"""How the positions were found; a saved model holds the positions themselves."""


class Rosa(Method):
    learning_rate: PositiveFloat = 2.0e-4
    """Of the sparse values; of the low-rank part where there are none."""

    low_rank_learning_rate: PositiveFloat | None = None
    """Of A and B. Default: 3.5 times learning_rate, 7e-4 against 2e-4 as published, so that a search moves both."""

    rank: NonNegativeInt = 8
    """R. Each adapted layer gains R * (I + O) trained parameters; 0: no low-rank part."""

    alpha: PositiveFloat = 16.0
    """The low-rank update is scaled by alpha / rank."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the low-rank branch's input dropped while training; above 0 costs activation memory."""

    density: Annotated[float, Field(ge=0, lt=1)] = 0.003
    """Share of each adapted matrix that is trained: int(density * O * I) values a layer; 0: no sparse part."""

    targets: str | tuple[str, ...] = "all-linear"
    """Which linear layers are adapted: all-linear, attention, a list of names, or a regular expression."""

    also: str | tuple[str, ...] = ()
    """What of the base is trained too: embeddings, head, norms, biases, modules by name. See docs/targets.md."""

    also_rate: PositiveFloat = 1.0
    """What `also` names learns at this multiple of the learning rate."""

    base: Literal["float", "nf4"] = "float"
    """How W is held; nf4: all linear layers but the head in 4 bits (QRoSA)."""

    schedule: Literal["default", "low_rank_only", "sparse_only"] = "default"
    """default: both parts, as far as rank and density give them. The others state that there is one part only."""

    mask_from: Path | None = None
    """Positions of another run: its folder, or the model folder in it. Nothing is warmed up or measured."""

    mask_gradient: Literal["mean_squared", "mean"] = "mean_squared"
    """What is largest at the chosen positions: the mean of g^2 over single examples, or |mean of g|."""

    mask_examples: PositiveInt | None = None
    """Single examples that are measured; default: those of one step."""

    warmup_steps: NonNegativeInt | None = None
    """Low-rank steps before the gradients are measured; default: a tenth of the run's, at most 64."""

    short_names: ClassVar[dict[str, str]] = {"rank": "r", "density": "d"}
    hidden_at_default: ClassVar[tuple[str, ...]] = ("also", "also_rate")
    parallel: ClassVar[bool] = True

    @model_validator(mode="after")
    def _parts_agree(self) -> Rosa:
        if not self.rank and not self.density:
            raise ValueError("rank: 0 together with density: 0 trains nothing; give one of them")
        if self.schedule == "low_rank_only" and self.density:
            raise ValueError(f"schedule: low_rank_only has no sparse part; got density: {self.density:g}, set it to 0")
        if self.schedule == "sparse_only" and self.rank:
            raise ValueError(f"schedule: sparse_only has no low-rank part; got rank: {self.rank}, set it to 0")
        if not self.rank and self.low_rank_learning_rate is not None:
            raise ValueError("low_rank_learning_rate: there is no low-rank part with rank: 0; leave it out")
        if not self.rank and self.warmup_steps:
            raise ValueError("warmup_steps: the warm-up is of low rank, and rank: 0 has none; leave it out")
        for name in ("mask_from", "mask_examples", "warmup_steps"):
            given = getattr(self, name) is not None
            if given and not self.density:
                raise ValueError(f"{name}: density: 0 has no positions to choose; leave it out")
            if given and name != "mask_from" and self.mask_from is not None:
                raise ValueError(f"{name}: mask_from brings the positions and nothing is measured; leave one out")
        return self

    def problems(self, study: StudyConfig) -> list[str]:
        found = []
        if self.mask_from is not None:
            from tunelab.kernels.adapter_file import saved_folder

            if saved_folder(self.mask_from, method=NAME) is None:
                found.append(self._no_mask())
        if study.budget.steps is not None and (problem := self._warmup_problem(study.budget.steps)):
            found.append(problem)
        return found

    @classmethod
    def example(cls) -> dict[str, float]:
        """The contract tests' learning rate is one for LoRA; 3.5 times that is too much for A and B."""
        return {"low_rank_learning_rate": 1e-2}

    @property
    def base_storage(self) -> Literal["float", "nf4"]:
        return self.base

    def rate_of(self, name: str) -> float:
        if not name.endswith((".lora_A", ".lora_B")):
            return 1.0 if name.endswith(".sparse_values") else self.also_rate
        if self.low_rank_learning_rate is None:
            return LOW_RANK_RATIO if self.density else 1.0
        return self.low_rank_learning_rate / self.learning_rate

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        from tunelab.models.streamed import hold_in_nf4

        if self.base == "nf4":
            hold_in_nf4(model)

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.kernels.adapted_linear import adapt
        from tunelab.models.also import train_beside
        from tunelab.models.quantise import quantise_model
        from tunelab.models.targets import is_transposed, outputs_and_inputs, select

        left_out = "stay frozen" if self.base == "float" else "stay frozen, in full precision"
        select(model, self.targets, left_out=left_out)  # what does not fit is said before the work
        if self.base == "nf4":
            model = quantise_model(model)
        model.requires_grad_(False)
        chosen = {name: (layer, outputs_and_inputs(layer)) for name, layer in select(model, self.targets).items()}
        if self.density and not any(int(self.density * o * i) for _, (o, i) in chosen.values()):
            largest = max(o * i for _, (o, i) in chosen.values())
            raise ConfigError(f"density: {self.density:g} of {largest} weights, the largest matrix, is not one value")
        for name, (layer, (outputs, inputs)) in chosen.items():
            if self.rank or int(self.density * outputs * inputs):
                adapted = adapt(
                    layer,
                    name=name,
                    seed=seed,
                    rank=self.rank,
                    scale=self.alpha / self.rank if self.rank else 0.0,
                    dropout=self.dropout,
                    density=self.density,
                    transposed=is_transposed(layer),
                )
                model.set_submodule(name, adapted)
        train_beside(model, self.also)
        return model

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.also import remarks
        from tunelab.models.quantise import float_remarks
        from tunelab.models.targets import reach_remarks

        further = remarks(model, self.also)
        if self.base == "float":
            return reach_remarks(model, {"adapts": self.targets}) + further
        return reach_remarks(model, {"adapts": self.targets, "holds in 4 bits": ".*"}) + float_remarks(model) + further

    # -------------------------------------------------------------- the mask

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        """Choose the positions. Low-rank steps of the run's own order and rule, then the gradients of single examples
        from the step that follows (each its own mean token loss), then the largest of each layer; at the end A, B and
        the values are what they were before.

        Raises:
            ConfigError: the warm-up is as long as the run; `mask_from` is of another model, density or target.
            RunError: the warm-up diverged.
        """
        from tunelab.training.starts.whole_gradients import whole_gradients

        if not self.density:
            return
        if self.mask_from is not None:
            self._take_positions(session.model, self.mask_from)
            return
        if problem := self._warmup_problem(order.num_steps):
            raise ConfigError(problem)
        warmup = self._warmup(order.num_steps)
        halves = {name: p for name, p in session.model.named_parameters() if name.endswith((".lora_A", ".lora_B"))}
        start = {name: parameter.detach().clone() for name, parameter in halves.items()}
        self._warm_up(session, order, run, num_steps=warmup)
        layers = _sparse_layers(session.model)
        found = whole_gradients(
            session, run, order, layers, number=warmup + 1, examples=self.mask_examples, score=self.mask_gradient
        )
        chosen = {name: scores.top(len(layers[name].sparse.index_K)) for name, scores in found}
        for name, index_K in chosen.items():
            layers[name].sparse.index_K.copy_(index_K)
        for name, value in start.items():
            halves[name].data.copy_(value)
        session.model.zero_grad(set_to_none=True)
        session.restart()

    def _warmup(self, num_steps: int) -> int:
        if not self.rank:
            return 0
        return min(MOST_WARMUP, num_steps // 10) if self.warmup_steps is None else self.warmup_steps

    def _warmup_problem(self, num_steps: int) -> str | None:
        if self.warmup_steps is None or self.warmup_steps < num_steps:
            return None
        rule = "the positions would never be chosen; set it below"
        return f"warmup_steps: {self.warmup_steps} is not below the run's {num_steps} steps, so {rule}"

    def _warm_up(self, session: Session, order: Order, run: RunConfig, *, num_steps: int) -> None:
        from tunelab.models.also import beside
        from tunelab.training.step import take_step

        values = [layer.sparse.values_K for layer in _sparse_layers(session.model).values()]
        values += beside(session.model, self.also).parameters.values()
        for parameter in values if num_steps else ():
            parameter.requires_grad_(False)
        session.restart()
        taken = [take_step(session, run, order, each, peak=self.learning_rate) for each in range(1, num_steps + 1)]
        if skipped := sum(step.grad_norm is None for step in taken):
            session.notes.append(f"fp16: {skipped} of {num_steps} warm-up steps overflowed and were skipped")
        for parameter in values:
            parameter.requires_grad_(True)

    def _take_positions(self, model: PreTrainedModel, source: Path) -> None:
        from tunelab.kernels.adapter_file import read_positions, saved_folder

        layers = _sparse_layers(model)
        folder = saved_folder(source, method=NAME)
        if folder is None:
            raise ConfigError(self._no_mask())
        saved = read_positions(folder, {name: layer.shape for name, layer in layers.items()})
        for name, layer in layers.items():
            own_K = layer.sparse.index_K
            if len(saved[name]) != len(own_K):
                got = f"{len(saved[name])} positions for {name}, and density: {self.density:g} has"
                raise ConfigError(f"mask_from: {source} has {got} {len(own_K)}; set its density")
            own_K.copy_(saved[name])

    def _no_mask(self) -> str:
        return f"mask_from: {self.mask_from} holds no saved rosa model; name a finished rosa run's folder"

    def state(self, model: PreTrainedModel) -> dict[str, Tensor]:
        return {f"{name}.sparse_index": layer.sparse.index_K for name, layer in _sparse_layers(model).items()}

    def load_state(self, model: PreTrainedModel, state: dict[str, Tensor]) -> None:
        for name, layer in _sparse_layers(model).items():
            layer.sparse.index_K.copy_(state[f"{name}.sparse_index"])

    # -------------------------------------------------------------- disk

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.kernels.adapted_linear import adapted_layers
        from tunelab.kernels.adapter_file import write
        from tunelab.models.also import beside

        options = self.model_dump(mode="json", exclude=NOT_SAVED)
        base_model = model.config._name_or_path
        more = beside(model, self.also).tensors()
        write(folder, adapted_layers(model), more, method=NAME, base_model=base_model, options=options)

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, object] | None:
        from tunelab.kernels.adapter_file import read_options

        return read_options(folder, method=NAME)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.kernels.adapted_linear import adapted_layers
        from tunelab.kernels.adapter_file import read
        from tunelab.models.also import is_beside, load_beside

        tensors = read(folder, adapted_layers(model), leave_out=is_beside)
        load_beside(model, self.also, tensors, folder)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        """Plain fp32 weights, for nf4 the dequantised ones plus the update."""
        from tunelab.kernels.adapted_linear import merge_adapted
        from tunelab.models.added_tokens import fold_rows
        from tunelab.models.quantise import dequantise_model

        model = copy.deepcopy(model)
        merge_adapted(model)
        fold_rows(model)
        dequantise_model(model)
        return model


def _sparse_layers(model: PreTrainedModel) -> dict[str, AdaptedLinear]:
    from tunelab.kernels.adapted_linear import adapted_layers

    return {name: layer for name, layer in adapted_layers(model).items() if layer.sparse_values is not None}
