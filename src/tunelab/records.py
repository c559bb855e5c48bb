"""The frozen data that crosses floors: what a task gives, what a run leaves.

Small and hot things are NamedTuples; what is written to disk is a pydantic model, so that reading checks it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of everything written to disk as JSON. Unknown keys are an error: a record is never half-read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ------------------------------------------------------------------ data

Span = tuple[int, int]  # characters of a text: from, to
RowSize = tuple[int, int, int]  # tokens of a row, those that are learned, and those of its source


class Turn(NamedTuple):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    learned: bool = True
    """Of an assistant's turn; others never are. A turn that is not learned is read."""
    more: str = ""
    """What else the message holds for a chat template, as JSON: tool_calls, reasoning_content, name. Empty: nothing."""


class Example(NamedTuple):
    """One row of a task as text. A plain-text row has an empty prompt."""

    id: str
    prompt: str
    target: str
    """What is learned; the first reference."""
    references: tuple[str, ...] = ()
    """All accepted texts; at least the target."""
    turns: tuple[Turn, ...] = ()
    """A conversation that ends with a learned turn of the assistant, written by the model's chat template. `target`
    is the last turn, `prompt` the turns before it, as text for a reader. Empty: no conversation."""
    source: str = ""
    """Which of the task's data sets the row is from; empty where there is one."""
    control: tuple[tuple[Span, ...], tuple[Span, ...]] = ((), ())
    """Stretches of prompt and target that are the study's own words, where a special token is meant as one."""
    given: str = ""
    """What the row gives a chat template beside the turns, as JSON: tools, documents. Empty: nothing."""


class TokenRow(NamedTuple):
    """One example as token ids. `supervised[t]` says whether `ids[t]` is predicted and counted in the loss.

    Decoder-only: ids = prompt + target + end, source is None. Encoder-decoder: ids = target + end, source = prompt.
    """

    example: int
    """Position of the example in its split."""
    ids: np.ndarray
    """int32, shape T."""
    supervised: np.ndarray
    """bool, shape T. In a decoder-only row the first entry is False: nothing predicts the first token."""
    source: np.ndarray | None = None
    """int32, shape S."""
    starts: tuple[int, ...] = ()
    """Where each document of a packed row begins; none sees another. Empty: the row is one document."""

    @property
    def num_tokens(self) -> int:
        return len(self.ids) + (0 if self.source is None else len(self.source))

    @property
    def num_supervised(self) -> int:
        return int(np.count_nonzero(self.supervised))


class Batch(NamedTuple):
    """One micro-batch: rows that go through the model together."""

    rows: tuple[TokenRow, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return sum(row.num_tokens for row in self.rows)

    @property
    def num_supervised(self) -> int:
        return sum(row.num_supervised for row in self.rows)


class TokenLoss(NamedTuple):
    """Summed negative log-likelihood of one example's supervised tokens, in nats."""

    loss_sum: float
    num_tokens: int


class Decoded(NamedTuple):
    """What has come of generating texts since it was last told."""

    texts: dict[int, list[int]]
    """Those that ended: a prompt's place among the prompts, and its new token ids."""
    num_tokens: int
    """All new tokens until then, those of unfinished texts too."""


class Prediction(Record):
    """One test example after evaluation: a line of predictions.jsonl. What was not asked for is None."""

    id: str
    prompt: str
    prediction: str | None = None
    references: tuple[str, ...] = ()
    loss_sum: float | None = None
    num_tokens: int | None = None
    num_bytes: int | None = None
    """UTF-8 bytes of the supervised text."""
    base_loss_sum: float | None = None
    """The untouched base's loss on the same text; of general text only."""
    statistics: dict[str, tuple[float, ...]] = {}
    """Per metric: this example's sufficient statistics (see contracts.Metric)."""


# ------------------------------------------------------------------ models


class Located(NamedTuple):
    """A model whose files are on this machine."""

    folder: Path
    revision: str
    """Hub commit, or 'sha256:...' over a local folder's configuration and weights."""


class LowRank(NamedTuple):
    """One trained A (R, I) and B (rows, R) beside a linear layer."""

    name: str
    """Their parameters are `name`.lora_A and `name`.lora_B: the layer's path, and its part of a fused layer."""
    rows: slice
    """Of the layer's outputs."""
    inputs: int
    rank: int
    scale: float


class TextSide(NamedTuple):
    """What text needs of a model: no weights."""

    tokenizer: Any
    encoder_decoder: bool


class Limits(NamedTuple):
    """What a model can hold."""

    source_positions: int | None
    """Of an encoder; None: no encoder, or positions without an end."""
    positions: int | None
    """Of a decoder, prompt and text together where there is no encoder; None: without an end."""
    embedding_rows: int


# ------------------------------------------------------------------ what a run leaves


class StepRecord(Record):
    """One optimizer step: a line of steps.jsonl."""

    step: int
    loss: float
    """Mean over the step's supervised tokens, in nats, label smoothing included."""
    learning_rate: float
    grad_norm: float | None = None
    """L2 norm of all trained parameters' gradients before clipping. None: not finite, so the step was skipped."""
    num_tokens: int
    """Non-padding tokens."""
    num_supervised_tokens: int
    seconds: float
    ema_loss: float
    """Exponential moving average of loss, decay 0.98, bias-corrected."""
    tokens_per_second: float
    num_kernels: int | None = None
    """Of a framework that compiles while it runs: kernels that the process has loaded so far."""
    loss_scale: float | None = None
    """Of fp16. A step whose gradients overflowed at it was skipped: nothing was trained on its examples."""
    max_tokens: int | None = None
    """Of a micro-batch at most, where memory ran out with the run's own `batch.max_tokens`."""


class ValidationRecord(Record):
    """One pass over the validation rows: a line of validation.jsonl. Its time is in no step's seconds."""

    step: int
    epoch: float
    loss: float
    """Mean over supervised tokens, in nats."""
    sequence_loss: float
    """Mean over rows of the row's summed loss, in nats."""
    perplexity: float
    bits_per_token: float
    tokens: int
    sequences: int


class PhaseCost(Record):
    """One phase (load, prepare, train, evaluate, save): wall seconds, peak memory, and energy where it is measured."""

    seconds: float
    peak_gib: float | None = None
    """Absolute peak: resident memory on CPU, allocator peak on CUDA; of several devices the largest one's. None where
    it cannot be measured."""
    peak_reserved_gib: float | None = None
    """What CUDA's allocator held from the device in all, this process's own."""
    peak_method: str | None = None
    peak_all_gib: float | None = None
    """Peaks of all the run's devices, added. None where it ran on one, or where they cannot be measured."""
    device_seconds: float | None = None
    """Seconds times devices, as many as there were at each time. None where it ran on one."""
    rapl_joules: float | None = None  # of the machine's processor packages meanwhile, whatever ran on them
    nvml_joules: float | None = None  # of the run's GPUs, added

    @property
    def seconds_in_all(self) -> float:
        return self.seconds if self.device_seconds is None else self.device_seconds

    @property
    def peak_in_all_gib(self) -> float | None:
        return self.peak_gib if self.device_seconds is None else self.peak_all_gib


class Divergence(Record):
    """Of a run whose loss stopped being finite: where, and its cost until then. In failure.json."""

    step: int
    phases: dict[str, PhaseCost] = {}


class Score(Record):
    """One metric on one run, with a bootstrap interval over examples."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int  # examples
    signature: str
    """Everything that changes the number: variant, tokenisation, smoothing, library version."""
    higher_is_better: bool
    missing: str = ""
    """Why there is no value: what the metric needs and did not find."""
    note: str = ""
    """What the metric does not read of the references, with the way out."""


class ParameterCount(NamedTuple):
    trainable: int
    total: int
    """Base + added."""
    reached: int | None = None
    """Of the base's: those that are trained, and the weights beside which adapters are trained. None: not told."""
    remarks: tuple[str, ...] = ()
    """What a plan says of a method on this model (Method.remarks)."""


class Provenance(Record):
    """Where a run's numbers were made: recorded, never part of the run's identity."""

    tunelab: str
    python: str
    packages: dict[str, str]
    threads: int
    precision: str
    device: str
    hardware: str
    """Processor or GPU name, cores, memory."""
    platform: str
    git: str | None = None
    """Commit of the working folder, '+dirty' when it has changes; None outside a checkout."""
    started: str  # UTC, ISO 8601


class RunResult(Record):
    """result.json: written last, so that its presence means finished."""

    run: str
    method: str
    """The label: 'base', 'lora', 'lora r=4'."""
    task: str
    seed: int
    backend: str
    learning_rate: float | None
    scores: dict[str, Score]
    phases: dict[str, PhaseCost]
    trainable_parameters: int
    total_parameters: int
    process_gib: float | None = None
    """Memory of the process itself, one device's: its libraries and the tokenizer, before the model was loaded."""
    loaded_gib: float | None = None
    """Memory of one device right after the model was loaded, before anything was trained."""
    saved_mib: float | None = None
    """Size of the saved adapter or weights, tokenizer not counted. None for the base."""
    tokens_per_second: float | None = None
    """Non-padding tokens of all devices over the train phase's step seconds, the first steps left out."""
    tokens_per_second_first: float | None = None  # the same over the first steps (allocation, kernel choice)
    num_devices: int = 1
    """Over which the run, and so its training, was spread; where that changed in between, at its end."""
    num_nodes: int = 1
    sharded: bool = False
    """Whether they cut weights, gradients and optimizer state too; else each held the whole model."""
    num_steps: int = 0
    num_tokens: int = 0
    num_supervised_tokens: int = 0
    largest_batch: tuple[RowSize, ...] = ()  # the largest micro-batch of its first steps
    validation_loss: float | None = None
    """Of the weights that are the result; chooses between the candidates of a search."""
    kept_step: int | None = None
    """With `validation.keep: best`, after which step those weights were."""
    optimizer: list[dict[str, Any]] = []
    """The effective optimizer, one entry a parameter group, read back from the live objects."""
    notes: list[str] = []
    """Everything a reader should know: reference path used, rows truncated, resumed at step."""
    provenance: Provenance
