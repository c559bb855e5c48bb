"""What a back end must offer: the page for whoever brings a second framework.

A back end is a folder in `backends/` (or a module of a package of your own, through the entry-point group
`tunelab.backends`); the folder's name is its public name, and its `backend.py` holds exactly one final `Backend`.
It loads models and makes a `Session`, which `training/loop.py` drives; nothing else of tunelab knows a framework.
`contracts.py` builds on this page, and back ends are given what stands there: a `Method` to attach and to save.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, SupportsFloat

import numpy as np

from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation, ModelSource, Precision, Products, StudyConfig
from tunelab.entries import Device, Forecast
from tunelab.errors import RunError
from tunelab.records import Batch, Decoded, Limits, Located, ParameterCount, RowSize, TextSide, TokenLoss, TokenRow

if TYPE_CHECKING:
    import torch

AnyMethod = Any  # a `contracts.Method`; that page stands on this one


class Order(Protocol):
    """Which rows make up which step of a run: a function of the seed alone (data/tokens/batching.py)."""

    num_steps: int

    def step(self, number: int) -> list[TokenRow]:
        """The rows of step `number`, counted from 1."""
        ...


class Updater(ABC):
    """Turns the accumulated gradients of one step into an update of the trained parameters."""

    def before_backward(self, *, last: bool) -> None:
        """Called before each micro-batch's forward pass, `last` the step's last one; not in a look."""

    def wants_look(self, *, num_batches: int) -> bool:
        """Whether it must see what the whole step's gradients are before the pass over these micro-batches in which
        they count: asked before that pass, and again after each look."""
        return False

    @contextmanager
    def look(self) -> Iterator[None]:
        """A pass over the step's micro-batches that changes no gradient and no parameter; entered by all updaters of a
        model when one wants it. What is trained is frozen meanwhile, but for what the updater thaws."""
        yield

    @abstractmethod
    def gradient_norm(self) -> SupportsFloat:
        """L2 norm over all trained parameters, before clipping; to read it may mean to wait for the device."""

    @abstractmethod
    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        """Clip to `max_norm`, apply, and forget the gradients."""

    def gradients(self) -> list[torch.Tensor]:
        """All that the step has accumulated, before it is summed over ranks: fp16 divides it in place by the scale."""
        raise RunError(f"{type(self).__name__} does not say where its gradients are: set precision to fp32 or bf16")

    def forget(self) -> None:
        """Drop what the step has accumulated: it begins again, or is left out. What a look has found may stay."""
        raise RunError(f"{type(self).__name__} cannot begin a step again: lower batch.max_tokens")

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Everything the next update depends on beside the parameters, as plain tensors."""

    @abstractmethod
    def load_state(self, state: dict[str, torch.Tensor]) -> None: ...

    @abstractmethod
    def describe(self) -> list[dict[str, Any]]:
        """The effective settings read back from the live objects, one entry a parameter group."""


class Session(ABC):
    """One model being trained by one backend. `training/loop.py` drives it and knows nothing else."""

    model: Any  # the framework's own, method attached
    notes: list[str]
    loss_scale: float | None = None
    """Of fp16: what losses are multiplied by before the backward pass, and gradients divided by after it."""
    most_tokens: int | None = None  # padded ones of a micro-batch, where memory has run out
    part: int = 0  # which one of a method of several is attached
    pads: bool = True  # the rows of a micro-batch, to the longest; known when `verify` has been asked
    num_ranks: int = 1  # processes that make each step together (launch.devices x launch.nodes)

    def part_at(self, number: int, num_steps: int) -> int:
        return 0

    def enter(self, part: int, order: Order, *, resumed: bool = False) -> None:
        """Go on to a later part and, unless a checkpoint of it is loaded next (`resumed`), prepare it."""

    def rate(self) -> float:  # Method.rate_in of the present part
        return 1.0

    def combine(self, folders: Sequence[Path], *, validation_loss: Callable[[], float]) -> None: ...

    @abstractmethod
    def restart(self) -> None:
        """A fresh updater over the parameters that are trained now: what was trained before is forgotten."""

    @abstractmethod
    def verify(self, batch: Batch) -> None:
        """Compare the fast path with the reference on real rows before step 1; where they disagree take the latter."""

    @abstractmethod
    def accumulate(self, batch: Batch, *, denominator: float, last: bool) -> SupportsFloat:
        """Forward and backward of (summed token loss / denominator); returns the sum in nats. Reading it may wait."""

    def accumulate_shares(
        self, shares: Sequence[Sequence[Batch]], *, denominator: int, key: tuple[int, ...], rank: int = 0
    ) -> SupportsFloat:
        """`accumulate` over a step's micro-batches: each rank its own share, which may be empty. Returns the summed
        token loss of all ranks. Draws are a function of `key`, the rank where there are several, and the batch's
        place in its share. Raises OutOfMemory: a micro-batch was too large; `forget` what is accumulated."""
        loss_sum: Any = 0.0
        for index, batch in enumerate(batches := shares[rank]):
            self.seed(*key, *([rank] if len(shares) > 1 else []), index)
            loss_sum = loss_sum + self.accumulate(batch, denominator=denominator, last=index == len(batches) - 1)
        return loss_sum

    def forget(self) -> None:
        """Drop the gradients of a step that is not finished and begins again."""

    def skip(self) -> None:
        """Leave out a step whose gradients overflowed, and lower the loss scale."""
        raise NotImplementedError(f"{type(self).__name__} has no loss scale")

    @contextmanager
    def alone(self) -> Iterator[Session]:
        """A session of this process only, for what a method does before step 1 (`Method.prepare`). Afterwards every
        rank is as this one."""
        yield self

    def wants_look(self, *, num_batches: int) -> bool:
        """The updater's answer."""
        return False

    @contextmanager
    def look(self) -> Iterator[None]:
        """`accumulate` inside adds to no gradient; the updater sees what it wants to."""
        yield

    @abstractmethod
    def gradient_norm(self) -> float: ...  # a step's one wait for its device: the loss is read after it

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

    def num_kernels(self) -> int | None:
        """How many kernels this process has loaded, of a framework that compiles them while it runs."""
        return None

    @abstractmethod
    def optimizer(self) -> list[dict[str, Any]]:
        """The updater's `describe()`."""


class Memory(Protocol):
    """Measures this process on one device, or a run over several on all of them."""

    method: str  # vmhwm-reset, sampled, cuda-allocator: how peaks are read

    def reset(self) -> None:
        """Forget the peak."""

    def peak_gib(self) -> float | None:
        """Highest use since `reset`, of several devices the largest; None where it cannot be measured."""

    def peak_all_gib(self) -> float | None:
        """Each device's highest use since `reset`, added up; asked only where there are several. None: not measured."""
        return None

    def peak_reserved_gib(self) -> float | None:
        """Highest that an allocator held since `reset`, given out or not. None: there is no allocator."""

    def current_gib(self) -> float | None: ...


class Backend(ABC):
    """A framework that can load a model and train it. Its `backend.py` imports that framework inside functions: studies
    are planned and reports are made where it is not installed."""

    parallel: ClassVar[bool] = False
    """Whether it can spread one run over several devices; where not, a study that asks for it is refused."""
    precisions: ClassVar[tuple[Products, ...]] = ("fp32", "bf16")
    """What it can multiply in. The back ends of a study all take one that all of them have."""
    forks: ClassVar[bool] = False
    """Whether a run on the CPU may be executed by a fork of a process that has done no more than `warm`."""
    opened_by: ClassVar[str] = ""
    """Of a back end whose framework is not in this program's own environment: the one that opens what it has saved,
    for `evaluate`, `generate` and `export`. Its runs execute by `command` alone."""

    def supports(self, method: str) -> bool:
        """Whether it can train the method of that name; where not, a study leaves their run out and says so."""
        return True

    def problems(self, study: StudyConfig) -> Iterator[tuple[str, str]]:
        """Keys of a study and what of them it cannot do; asked while planning, like `count`."""
        return iter(())

    def command(self, module: str, *arguments: str) -> list[str]:
        """Executes a module of tunelab where this back end's framework is."""
        return [sys.executable, "-m", module, *arguments]

    def warm(self, model: ModelSource) -> None:
        """Import what every run of that model needs, in the process that executes it or in one that is forked for it.
        Nothing may be left behind but modules: no thread, no random draw, no device."""

    def missing(self) -> str:
        """What this machine lacks to execute its runs, with the way out; empty: nothing. Asked before anything is
        executed, not while planning."""
        return ""

    def prepare(self, told: Callable[[str], None]) -> None:
        """`tunelab doctor --prepare NAME`: bring what is `missing`, telling a line a stage; RunError: why not."""

    @contextmanager
    def joined(self, run: RunConfig) -> Iterator[int]:
        """Meet the other ranks of the run; gives this process's rank, and at the end nothing of the meeting is left.
        Rank 0 then executes the run, and the others `serve` its session."""
        yield 0

    def serve(self, run: RunConfig, method: AnyMethod | None) -> None:
        """On every rank but 0: load the same model, do its share of what rank 0's session is asked, to its end."""
        raise NotImplementedError(f"{type(self).__name__} trains on one device")

    @abstractmethod
    def resolve(self, *, precision: Precision, threads: int | None) -> tuple[Products, int]:
        """Replace 'auto' by what this machine should use, from flags and a fixed accuracy check, never a timing."""

    def max_tokens(self) -> int:
        """Of a micro-batch on this machine, for `batch.max_tokens: auto`."""
        return 4096

    @abstractmethod
    def count(self, model: ModelSource, method: AnyMethod | None) -> ParameterCount | None:
        """Parameters from the configuration alone: no weights, no hub. None where the configuration is not here, or
        a method cannot be counted without weights."""

    @abstractmethod
    def limits(self, model: ModelSource) -> tuple[Limits, int | None] | None:
        """What the model can hold, and how many token ids its tokenizer gives (None: not on this machine); without
        weights and hub. None where the configuration is not here."""

    def foresee(self, run: RunConfig, method: AnyMethod, rows: Sequence[RowSize], *, on: Device) -> Forecast | None:
        """The memory of the run whose largest micro-batch has these rows; as `count`. None: it cannot be told."""
        return None

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

    def num_gpus(self) -> int:
        """That this process may use: runs at the same time get GPUs of their own. 0: they share the processor."""
        return 0

    @abstractmethod
    def session(
        self, run: RunConfig, method: AnyMethod | None, *, located: Located, text: TextSide, notes: list[str]
    ) -> Session:
        """Load the model and attach the method (None: the untouched base). Appends to `notes` what must be said."""
