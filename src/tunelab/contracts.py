"""Method, Task, Metric, Backend on one page: read this first.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PrivateAttr

from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation, MethodEntry, ModelSource, Optimizer, StudyConfig
from tunelab.records import Batch, Decoded, Example, Located, ParameterCount, Prediction, TextSide, TokenLoss

if TYPE_CHECKING:
    from typing import Self

    import torch
    from transformers import PreTrainedModel

    from tunelab.data.tokens.batching import Order


class Options(BaseModel):
    """Frozen, keyword-only, unknown keys refused: the fields of a method or a task are its options in a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Parts = Annotated[tuple[MethodEntry, ...], Field(min_length=2)]
"""The field `parts` of a method that is made of others: names with options. The planner builds them: `members`."""


class Method(Options, ABC):
    """One way to fine-tune. A point on three axes: how the frozen base is held, what is trained (`attach`),
    and how a gradient becomes an update (`updater`). Its fields are its hyper-parameters."""

    learning_rate: PositiveFloat
    """Peak learning rate. Every file sets its own documented default; a list in a study means a search."""

    backends: ClassVar[tuple[str, ...]] = ("torch",)
    short_names: ClassVar[dict[str, str]] = {}
    """Field name -> what a label shows, as {'rank': 'r'} gives 'lora r=4'."""
    trains: ClassVar[bool] = True
    """False: 0 steps, `learning_rate: None = None`; `combine` makes it of the runs in `needs`."""
    one_model: ClassVar[bool] = True
    """Its result can be one model with plain weights."""

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

    @abstractmethod
    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        """Add what is trained and freeze every parameter that must not move; returns the model to train.

        Works on the meta device too (parameters are counted there). Initial values come from
        `kernels.initial`, keyed by (seed, parameter name).

        Raises:
            ConfigError: an option that does not fit this model (a target that matches nothing).
            NotImplementedError: on the meta device alone, where a library must see weights to build its layers.
        """

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        """Look at data before step 1 (a mask from gradients, a data-driven start). Timed apart as `prepare`.

        A function of (model, order, run) alone: it is repeated when a run is killed in it, and skipped when a
        checkpoint exists. What it decides beyond trained values goes into `state`. A method that trains in here
        ends with `session.restart()`.
        """

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
    def optimizer_kind(self) -> str:
        """Which inner optimizer the shared rule uses; see `training.optim.KINDS`."""
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


class Updater(ABC):
    """Turns the accumulated gradients of one step into an update of the trained parameters."""

    def before_backward(self, *, last: bool) -> None:
        """Called before each micro-batch's forward and backward; `last` says that the step's update follows it."""

    @abstractmethod
    def gradient_norm(self) -> float:
        """L2 norm over all trained parameters, before clipping."""

    @abstractmethod
    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        """Clip to `max_norm`, apply, and forget the gradients."""

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Everything the next update depends on beside the parameters, as plain tensors."""

    @abstractmethod
    def load_state(self, state: dict[str, torch.Tensor]) -> None: ...

    @abstractmethod
    def describe(self) -> list[dict[str, Any]]:
        """The effective settings read back from the live objects, one entry a parameter group."""


class Task(Options, ABC):
    """Sources + how a row becomes prompt and target + references + metrics + decoding."""

    name: str
    metrics: tuple[str, ...]
    """Names in `metrics/`, a variant after a colon. The first one decides ties in the report's summary."""
    generation: Generation = Generation()
    """Decoding defaults of this task; the study's `generation` and the task entry override them."""

    @abstractmethod
    def examples(self, split: Literal["train", "validation", "test"]) -> Sequence[Example]:
        """All rows of a split in a fixed order, a list or made when asked for (data/reading/lazy.py); test rows with equal
        prompts are one example with several references. No `validation`: it is drawn from train (data/examples/splits.py).

        Raises:
            DataError: missing file, missing column, nothing in it.
        """

    def notes(self, split: Literal["train", "validation", "test"]) -> list[str]:
        """What a reader should know about the rows of a split: how many were left out, or drawn. Empty: nothing."""
        return []

    def problems(self) -> list[str]:
        """What is wrong with the data, as far as it can be told without a network; asked while planning."""
        return []

    def question(self, given: str | Mapping[str, Any], *, name: str) -> Example:
        """A user's own text or row, asked as in training; `name` begins the message. Raises DataError."""
        from tunelab.data.examples.formats import asked

        return asked(given, getattr(self, "prompt", None), name=name)

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

    @abstractmethod
    def statistics(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """float64, shape N x K: one row an example; K is the metric's own. Raises CannotScore: the score is missing."""

    @abstractmethod
    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        """From summed statistics, shape (..., K), to the score, shape (...). Vectorised over leading axes."""

    @abstractmethod
    def signature(self) -> str:
        """Everything that changes the number, as sacrebleu prints it."""


class Session(ABC):
    """One model being trained by one backend. `training/loop.py` drives it and knows nothing else."""

    model: Any
    """The framework's own, method attached."""
    part: int = 0
    """Which part of a method of several is attached."""

    def part_at(self, number: int, num_steps: int) -> int:
        return 0

    def enter(self, part: int, order: Order, *, resumed: bool = False) -> None:
        """Go on to a later part and, unless a checkpoint of it is loaded next (`resumed`), prepare it."""

    def rate(self) -> float:
        """Method.rate_in of the present part."""
        return 1.0

    def combine(self, folders: Sequence[Path], *, validation_loss: Callable[[], float]) -> None: ...

    @abstractmethod
    def restart(self) -> None:
        """A fresh updater over the parameters that are trained now: what was trained before is forgotten."""

    @abstractmethod
    def verify(self, batch: Batch) -> None:
        """Compare the fast path with the reference on real rows before step 1; where they disagree take the latter."""

    @abstractmethod
    def accumulate(self, batch: Batch, *, denominator: int, last: bool) -> float:
        """Forward and backward of (summed token loss / denominator); returns the summed token loss in nats."""

    @abstractmethod
    def gradient_norm(self) -> float: ...

    @abstractmethod
    def update(self, *, learning_rate: float, max_norm: float | None) -> None: ...

    @abstractmethod
    def seed(self, *key: int) -> None:
        """Make every random draw that follows (dropout) a function of `key`, so that resuming replays it."""

    @abstractmethod
    def evaluate(self, batches: Iterable[Batch]) -> list[TokenLoss]:
        """Token losses without label smoothing, one an example, in the order of the rows given."""

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """New token ids for each prompt (int32, without padding), the end token removed; `progress` is told what has
        come. Draws are a function of the run's seed and of `examples`: a prompt's place where nothing is given."""

    @abstractmethod
    def plain_model(self) -> Any:
        """What generates: plain weights where the method has them, in evaluation mode."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Everything the next step depends on: trained parameters and the updater's state."""

    @abstractmethod
    def load(self, folder: Path) -> None: ...

    @abstractmethod
    def write_model(self, folder: Path) -> float:
        """Write the result (adapter or weights, tokenizer beside it); returns the size in MiB, tokenizer left out."""

    @abstractmethod
    def read_model(self, folder: Path) -> None:
        """Read what `write_model` wrote."""

    @abstractmethod
    def parameters(self) -> ParameterCount: ...

    @abstractmethod
    def optimizer(self) -> list[dict[str, Any]]:
        """The updater's `describe()`."""


class Memory(Protocol):
    """Measures this process on one device."""

    method: str
    """vmhwm-reset, sampled, cuda-allocator: how peaks are read."""

    def reset(self) -> None:
        """Forget the peak."""

    def peak_gib(self) -> float | None:
        """Highest use since `reset`; None where it cannot be measured."""

    def current_gib(self) -> float | None: ...


class Backend(ABC):
    """A framework that can load a model and train it."""

    @abstractmethod
    def resolve(self, *, precision: str, threads: int | None) -> tuple[str, int]:
        """Replace 'auto' by what this machine should use, from flags and a fixed accuracy check, never a timing."""

    @abstractmethod
    def count(self, model: ModelSource, method: Method | None) -> ParameterCount | None:
        """Parameters from the configuration alone: no weights, no hub. None where the configuration is not here, or
        a method cannot be counted without weights."""

    @abstractmethod
    def locate(self, model: ModelSource) -> Located:
        """Bring the model's files here and pin them.

        Raises:
            ModelError: missing, gated, unreachable, or without safetensors.
        """

    @abstractmethod
    def text(self, model: ModelSource, located: Located) -> TextSide: ...

    @abstractmethod
    def memory(self) -> Memory: ...

    @abstractmethod
    def device(self) -> str:
        """'cpu' or the GPU's name."""

    @abstractmethod
    def session(
        self, run: RunConfig, method: Method | None, *, located: Located, text: TextSide, notes: list[str]
    ) -> Session:
        """Load the model and attach the method (None: the untouched base). Appends to `notes` what must be said."""
