"""Method, Task, Metric on one page: read this first. What a back end must offer is the next: backend_contract.py.

A **study** is methods x tasks x seeds on a model. A **run** is one of each and leaves **records**; a **report** reads.

To add a method, a task or a metric, add one file to `methods/`, `tasks/` or `metrics/` (or to a package of your own,
through the entry-point groups `tunelab.methods`, `tunelab.tasks`, `tunelab.metrics`). The file's name is the public
name, its docstring's first line is what `tunelab list` prints, and it holds exactly one final class of its kind.
Nothing else changes: the contract tests pick the file up by themselves.

Heavy packages are imported inside functions, so that this page, a study and its plan can be read without torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from tunelab.backend_contract import Order, Session, Updater
from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation, MethodEntry, Optimizer, StudyConfig
from tunelab.records import Example, LowRank, Prediction

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from typing_extensions import Self


class Options(BaseModel):
    """Frozen, keyword-only, unknown keys refused: the fields of a method or a task are its options in a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_at_default: ClassVar[tuple[str, ...]] = ()
    """Options that are written down only where they are not the default: the ids of runs without them stay the same."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: type(self).model_fields[name].default for name in self.hidden_at_default}
        return {name: value for name, value in write(self).items() if getattr(self, name) != defaults.get(name, ...)}


OptimizerKind = Literal["adamw", "adamw8bit", "paged_adamw8bit", "adafactor"]
"""What the shared rule can be; training/inner/optimizers.py says what each is."""
Parts = Annotated[tuple[MethodEntry, ...], Field(min_length=2)]
"""The field `parts` of a method that is made of others: names with options. The planner builds them: `members`."""


class Method(Options, ABC):
    """One way to fine-tune. A point on three axes: how the frozen base is held, what is trained (`attach`),
    and how a gradient becomes an update (`updater`). Its fields are its hyper-parameters."""

    learning_rate: PositiveFloat
    """Peak learning rate. Every file sets its own documented default; a list, or `auto`, in a study means a search."""

    short_names: ClassVar[dict[str, str]] = {}
    """Field name -> what a label shows, as {'rank': 'r'} gives 'lora r=4'."""
    trains: ClassVar[bool] = True
    """False: 0 steps, `learning_rate: None = None`; `combine` makes it of the runs in `needs`."""
    one_model: ClassVar[bool] = True
    """Its result can be one model with plain weights."""
    parallel: ClassVar[bool] = False
    """A run of it may be spread over several devices: its updater sums over ranks (training/ranks.py), and
    tests/backends/torch/ranks/test_ranked.py has it among those of which two ranks equal one process."""
    shards: ClassVar[bool] = False
    """Over devices that hold a part of the weights each (FSDP2), too."""

    narrow_weights: ClassVar[bool] = False
    """What it trains can be held in bf16 (the study's `weights`): its updater rounds at random (training/narrow/)."""

    _members: tuple[Method, ...] = PrivateAttr(())

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Options with which the contract tests build the method; needed where a field has no default."""
        return {}

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, Any] | None:
        """Options with which `save` wrote this folder, for models that come without their run; None: another's.

        Raises:
            ModelError: this method's format, with something in it that this method cannot do.
        """
        return None

    @property
    def documented_rate(self) -> float:
        """The middle of `learning_rate: auto`, whatever rate this object has: the field's default. A method whose other
        options move the best rate, as far as the literature agrees on it, says so here."""
        return type(self).model_fields["learning_rate"].default

    def problems(self, study: StudyConfig) -> list[str]:
        """What is wrong with these options under the study's other settings (budget, batch), as far as it can be told
        without model and data; asked while planning. What the fields alone say is a validator's."""
        return []

    @property
    def needs(self) -> tuple[str, ...]:
        """Labels of the finished runs it builds on, of the same task, seed and backend."""
        return ()

    @property
    def members(self) -> tuple[Method, ...]:
        """The methods of its field `parts`, or of the runs it `needs`; built and handed over by the planner."""
        return self._members

    def with_members(self, members: Sequence[Method]) -> Self:
        made = self.model_copy()
        made._members = tuple(members)
        return made

    def summary(self, parts: Sequence[str]) -> str:
        """What its label always says after the file's name, given its parts' labels: 'merge average of full + lora'."""
        return ""

    @property
    def base_storage(self) -> Literal["float", "int8", "nf4"]:
        """How the frozen weights are held."""
        return "float"

    @property
    def read_as(self) -> Literal["float", "int8", "nf4"]:
        """How weights are held from the moment they are read: float, or as `hold` makes their layers."""
        return self.base_storage

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        """On the meta device: make the quantised layers of `attach`, each of which is filled as its weight arrives."""

    @abstractmethod
    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        """Add what is trained and freeze every parameter that must not move; returns the model to train.

        Works on the meta device too (parameters are counted there). Initial values come from
        `kernels.initial`, keyed by (seed, parameter name).

        Raises:
            ConfigError: an option that does not fit this model (a target that matches nothing).
            NotImplementedError: on the meta device alone, where a library must see weights to build its layers.
        """

    def low_rank(
        self, layers: Mapping[str, tuple[int, int]], config: Mapping[str, Any]
    ) -> dict[str, tuple[LowRank, ...]] | None:
        """For back ends without torch, in place of `attach`: the trained factors beside each linear layer, by module
        path. None: it is not made of such factors alone.

        Args:
            layers: (O, I) of every linear layer by module path.
            config: the model's, as config.json has it.

        Raises:
            ConfigError: as `attach`; or an option that only torch can do.
        """
        return None

    def remarks(self, model: PreTrainedModel) -> list[str]:
        """What a reader should know of these options on this model, told from the shapes of a model to which nothing
        is attached: in a plan, where it is on the meta device, and in a run's notes."""
        return list(dict.fromkeys(remark for member in self.members for remark in member.remarks(model)))

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        """Look at data before step 1 (a mask, a start), where these options do: `prepares`. Timed apart as `prepare`.

        A function of (model, order, run) alone: it is repeated when a run is killed in it, and skipped when a
        checkpoint exists. What it decides beyond trained values goes into `state`. A method that trains in here
        ends with `session.restart()`.
        """

    @property
    def prepares(self) -> bool:
        return type(self).prepare is not Method.prepare

    def state(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """What resuming needs beside the trained parameters: positions chosen in `prepare`, quantised weights that
        move. Names must not collide with parameters'."""
        return {}

    def load_state(self, model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
        """Put back what `state` gave."""

    def part_at(self, number: int, num_steps: int) -> int:
        """Which of its parts, executed one after the other, makes step `number`; steps count from 1."""
        return 0

    def enter(self, model: PreTrainedModel, part: int, *, seed: int) -> PreTrainedModel:
        """Keep what the part before has trained and attach this one; returns the model to train."""
        return model

    def rate_in(self, part: int) -> float:
        """A part's learning rate, as a multiple of the run's."""
        return 1.0

    def combine(
        self, model: PreTrainedModel, folders: Sequence[Path], *, seed: int, validation_loss: Callable[[], float]
    ) -> list[str]:
        """Fill an attached model with what the `members` saved, a folder each; `validation_loss` (nats a token) is
        that of the model as it is when asked. Returns notes for the report."""
        raise NotImplementedError(f"{type(self).__name__} is trained")

    def rate_of(self, name: str) -> float:
        """The parameter's learning rate, as a multiple of the run's (LoRA+: B learns faster than A)."""
        return 1.0

    @property
    def optimizer_kind(self) -> OptimizerKind:
        """Which inner optimizer the shared rule uses."""
        return "adamw"

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater | None:
        """Gradients to updates; None: the shared rule. A method that *is* an optimizer says what its paper changes."""
        return None

    @abstractmethod
    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Write what was trained as safetensors + JSON: PEFT's adapter format where one exists."""

    @abstractmethod
    def load(self, model: PreTrainedModel, folder: Path) -> None:
        """Read what `save` wrote into an attached model, in place.

        Raises:
            ModelError: the folder does not fit this model or these options.
        """

    @abstractmethod
    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        """A model with plain weights that computes the same; the given model is left as it is."""


class Task(Options, ABC):
    """Sources + how a row becomes prompt and target + references + metrics + decoding."""

    name: str
    metrics: tuple[str, ...]
    """Names in `metrics/`, a variant after a colon. The first one decides ties in the report's summary."""
    generation: Generation = Generation()
    """Decoding defaults of this task; the study's `generation` and the task entry override them."""

    @abstractmethod
    def examples(self, split: Literal["train", "validation", "test"]) -> Sequence[Example]:
        """All rows of a split in a fixed order, a list or made when asked for (data/reading/lazy.py); test rows with
        equal prompts are one example with several references. No `validation`: it is drawn from train
        (data/examples/splits.py).

        Raises:
            DataError: missing file, missing column, nothing in it.
        """

    def notes(self, split: Literal["train", "validation", "test"]) -> list[str]:
        """What a reader should know about the rows of a split: how many were left out, or drawn. Empty: nothing."""
        return []

    def problems(self) -> list[str]:
        """What is wrong with the data, as far as it can be told without a network; asked while planning."""
        return []

    def known_references(self) -> Sequence[str]:
        """Of the first test rows, where they lie on this machine; asked while planning, for what the metrics do not
        read of them (`Metric.unread`)."""
        return ()

    def question(self, given: str | Mapping[str, Any], *, name: str) -> Example | None:
        """A user's own text or row, asked as in training; `name` begins the message. None: the template in its field
        `prompt` is filled in, where it has one (`data.examples.formats.asked`). Raises DataError."""
        return None

    def rehearsal(self, folder: Path) -> Self:
        """The same task on a few dozen rows that need no network, found by its options alone: generated ones in the
        data set's columns, written into `folder`, or the first of the user's own. By default the task as it is."""
        return self

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes whenever the rows can: a sha256 of files, a hub revision, a generator's version and seed."""


class Metric(ABC):
    """Per-example sufficient statistics and an aggregate of their sum: every interval and test re-weights them."""

    variants: ClassVar[dict[str, str]] = {"": ""}
    """Accepted variants (after the colon), a line each; '' is the default."""
    reads: ClassVar[Literal["text", "likelihood", "general"]] = "text"
    """Generated text, token losses, or token losses of a fixed general text beside those of the study's base."""
    higher_is_better: ClassVar[bool] = True
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Smallest and largest score there can be; intervals are cut there."""
    corpus_weights: ClassVar[bool] = False
    """An example's statistics weigh words by the references of all examples; intervals hold these weights fixed."""

    def __init__(self, variant: str = "") -> None:
        self.variant = variant

    def missing(self) -> str:
        """What it needs and this machine lacks, with the way out; asked while planning. Empty: nothing."""
        return ""

    def unread(self, references: Sequence[str]) -> str:
        """What of these references it throws away or cannot tell apart, with the way out; said beside the score."""
        return ""

    def logarithm(self) -> Metric | None:
        """The metric, of the same statistics, that differences and a share of a gain are to be of; None: this one."""
        return None

    @abstractmethod
    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """float64, shape N x K: one row an example; K is the metric's own. Raises CannotScore: the score is missing."""

    @abstractmethod
    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        """From summed statistics, shape (..., K), to the score, shape (...). Vectorised over leading axes."""

    @abstractmethod
    def signature(self) -> str:
        """Everything that changes the number, as sacrebleu prints it."""
