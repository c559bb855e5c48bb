"""A study file's schema. Frozen, keyword-only, unknown keys refused.

Only `model`, `tasks` and `methods` are required. A method's and a task's own options are not here: they are the
fields of the file in `methods/` or `tasks/` and are checked when the study is planned.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tunelab.config.decision import Decision
from tunelab.config.launch import Launch
from tunelab.config.published import Published
from tunelab.config.section import Section

Products = Literal["fp32", "bf16", "fp16"]
"""What matrix products are computed in."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]

Weights = Literal["fp32", "bf16"]
"""What trained matrices are held in."""


def _each_once(value: Any) -> Any:
    if isinstance(value, list) and (len({*map(str, value)}) < len(value) or "" in value):
        raise ValueError("each token stands there once, and none is empty")
    return tuple(value) if isinstance(value, list) else value


class ModelSource(Section):
    """Which model. In a study either this mapping or only the name."""

    name: str
    """A hub id, a local folder, or an embedded model (tunelab/tiny, tunelab/tiny-seq2seq)."""

    revision: str | None = None
    """Branch, tag or commit on the hub; resolved to a commit and recorded."""

    trust_remote_code: bool = False
    """Execute code that the model's repository brings. Off unless set here."""

    initialize: Literal["pretrained", "random"] = "pretrained"
    """`random` keeps architecture and tokenizer and draws new weights from the seed: for pretraining from nothing."""

    tokens: Annotated[tuple[str, ...] | dict[str, str], BeforeValidator(_each_once)] = ()
    """Tokens to add, as in ['<|call|>']; or each with words whose meaning it starts from, as in {'<|call|>': call}."""


class Budget(Section):
    """How long a run trains. Any of them; the first one reached ends the run."""

    epochs: PositiveFloat | None = None
    """Passes over the training rows; a fraction is allowed."""

    steps: PositiveInt | None = None
    """Optimizer steps."""

    tokens: PositiveInt | None = None
    """Supervised tokens."""

    @model_validator(mode="before")
    @classmethod
    def _default(cls, value: Any) -> Any:
        return {"epochs": 3} if value == {} else value

    @model_validator(mode="after")
    def _ends(self) -> Budget:
        if self.epochs is None and self.steps is None and self.tokens is None:
            raise ValueError("no run would end: give epochs, steps or tokens")
        return self


class BatchSettings(Section):
    """A step is a set of examples; a micro-batch is only how it is executed."""

    examples: PositiveInt = 16
    """Examples per optimizer step."""

    max_tokens: PositiveInt | Literal["auto"] = "auto"
    """Tokens per micro-batch, padding counted (of an encoder-decoder that is not padded: of its sources, and as many of
    its targets): bounds memory and changes no gradient. A longer row goes alone. auto: 4096 on a GPU, on a CPU what its
    cache holds of a layer; written down before the first run."""

    max_length: PositiveInt = 512
    """Tokens per row, prompt and target together; `data.overlong` says what happens to a longer one."""


class DataSettings(Section):
    """Between rows and tensors: what happens to rows longer than `batch.max_length`, and to short documents."""

    overlong: Literal["truncate_prompt", "truncate", "drop", "error"] = "truncate_prompt"
    """A row longer than batch.max_length. truncate_prompt: the prompt loses its beginning (a source its end), the
    target stays. truncate: the end is cut off. drop: left out and counted. error: stop. Test rows are always kept."""

    packing: bool = True
    """Plain text for a decoder-only model: documents share training rows of batch.max_length, and none sees another.
    Validation keeps one document a row; a long one of test is scored whole, in overlapping rows."""

    overlap: Literal["report", "remove", "ignore"] = "report"
    """Rows that stand, or nearly stand, in two of train, validation and test. report: counted, loud above 1 %, and at
    the first row of test in validation. remove: counted; validation loses what is in test, train what is in either.
    ignore: not looked for."""

    special_tokens: Literal["text", "control"] = "text"
    """Special tokens of the model's tokenizer inside the texts of rows. text: characters like any others, so that no
    row becomes a control token; a template's own words are control tokens. control: rows are written in the model's own
    format, and all of them are."""


def _two_betas(value: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= beta < 1 for beta in value):
        raise ValueError("each beta must be at least 0 and below 1")
    return value


class Optimizer(Section):
    """The one optimizer rule for all methods; a method declares what it changes."""

    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of trained parameters with at least two dimensions; biases and norms never decay."""

    betas: Annotated[tuple[float, float], AfterValidator(_two_betas)] = (0.9, 0.999)
    """Decay of the first and second moment."""

    eps: PositiveFloat = 1.0e-8
    """Added to the root of the second moment."""

    clip: PositiveFloat | None = 1.0
    """Largest gradient norm; null: no clipping."""


class Schedule(Section):
    """Learning rate over the run, as a share of the method's peak."""

    kind: Literal["constant", "linear", "cosine"] = "linear"
    """After the warm-up: hold, fall in a line to 0, or along a half cosine to 0."""

    warmup: NonNegativeFloat = 0.03
    """Below 1: a share of all steps; from 1 on: a number of steps."""


class Loss(Section):
    """What is minimised."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target taken from the right token and spread over the vocabulary (training only)."""


class Validation(Section):
    """Loss on rows that are not trained on."""

    every: PositiveFloat = 0.25
    """Share of an epoch between two passes; there is always one at the end."""

    keep: Literal["last", "best"] = "last"
    """Which weights are the result, of every method alike: those after the last step, or those of the pass with the
    lowest loss (the first of equal ones), which wait on disk until the end."""


class Search(Section):
    """What a search over lists in the fields of a method may cost; every candidate is a run on the first seed."""

    candidates: Annotated[int, Field(ge=2)]
    """Combinations that each searched method tries at most, its learning rates included: the same for all of them."""


class Generation(Section):
    """How text is generated for scoring. No part of a run's identity: after a change the finished models are asked
    again and nothing is trained."""

    beams: PositiveInt = 1
    """1 is greedy."""

    max_new_tokens: PositiveInt = 128

    min_new_tokens: NonNegativeInt = 0
    """No end before so many new tokens."""

    length_penalty: float = 1.0
    """Score of a beam = log-probability / length ** length_penalty."""

    early_stopping: bool | Literal["never"] = False
    """Of beam search. true: end when there are as many finished texts as beams; false: when no better one is likely;
    never: when there can be no better one."""

    no_repeat_ngram: NonNegativeInt = 0
    """No n-gram of this size twice in the generated text; 0: off."""

    temperature: NonNegativeFloat = 0.0
    """0: the likeliest token. Above: tokens are drawn from scores / temperature, each example with a seed of its own,
    so that what is drawn does not depend on the batch."""

    top_k: NonNegativeInt = 0
    """Draw from so many likeliest tokens; 0: from all."""

    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the likeliest tokens that together have this probability."""

    @model_validator(mode="after")
    def _one_way(self) -> Generation:
        if self.temperature and self.beams > 1:
            raise ValueError(f"temperature {self.temperature:g} draws and beams {self.beams} search: give one of them")
        if not self.temperature and (self.top_k or self.top_p < 1):
            raise ValueError("top_k and top_p are for drawing: give temperature too (1.0: the model's own)")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}")
        return self


class Evaluation(Section):
    """What evaluates beside this program's own likelihoods and texts. No part of a run's identity, as `generation`."""

    engine: Literal["torch", "vllm"] = "torch"
    """What generates texts. vllm: from merged weights, greedy or drawn; executed on a CPU alone so far."""

    harness: tuple[str, ...] = ()
    """Tasks of lm-evaluation-harness (extra `harness`): its names, or YAML files by their path from the working folder.
    Its results go into harness.json."""


class Checkpoint(Section):
    """Resumable state; the cadence never changes a number."""

    seconds: NonNegativeFloat = 60.0
    """Least time between two checkpoints; phase ends always have one."""


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


LearningRate = Annotated[float, Field(gt=0), AfterValidator(_finite)]


def _named_mapping(value: Any) -> Any:
    """`e2e_nlg` means `{name: e2e_nlg}`."""
    return {"name": value} if isinstance(value, str) else value


def _one_key_mapping(value: Any) -> Any:
    """`full` and `full:` mean `{full: {}}`."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict) and len(value) != 1:
        raise ValueError(f"must be one method, as in 'lora: {{rank: 8}}'; got the keys {', '.join(map(str, value))}")
    if isinstance(value, dict):
        return {name: {} if options is None else options for name, options in value.items()}
    return value


TaskEntry = Annotated[dict[str, Any], BeforeValidator(_named_mapping)]
MethodEntry = Annotated[dict[str, dict[str, Any]], BeforeValidator(_one_key_mapping)]


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands there twice, and its runs would count twice; let them differ")
    return seeds


class StudyConfig(Section):
    """methods x tasks x seeds on one base model."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "study"
    """Names the results folder: letters, digits, '.', '_', '-'."""

    model: Annotated[ModelSource, BeforeValidator(_named_mapping)]
    """The base model: a hub id, a local folder, or tunelab/tiny; or a mapping with revision."""

    tasks: Annotated[list[TaskEntry], Field(min_length=1)]
    """Names of files in tasks/, with options, or the user's own data inline."""

    methods: Annotated[list[MethodEntry], Field(min_length=1)]
    """One entry a row of the comparison; the same method may stand several times."""

    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_different)] = (0, 1, 2)
    """Each seed is a run of every method: another order of the data and other initial values."""

    budget: Budget = Budget(epochs=3)
    batch: BatchSettings = BatchSettings()
    data: DataSettings = DataSettings()

    precision: Precision = "auto"
    """Of matrix products while training and evaluating. fp16: the loss is scaled, and a step whose gradients overflow
    is skipped and counted. auto: bf16 where the hardware has it, fp16 on a GPU that has not, else fp32."""

    weights: Weights = "fp32"
    """How `full`, `galore`, `apollo` and `lisa` hold the matrices that they train. bf16: half the memory, updates made
    in fp32, one parameter at a time, and rounded at random; with precision bf16 or fp16. Adapters are always fp32."""

    threads: PositiveInt | Literal["auto"] = "auto"
    """Processor threads of a run; written down before the first run so that resuming is bit-exact."""

    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time, the same numbers."""

    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    validation: Validation = Validation()
    search: Search | None = None
    """Given: a list in any field of a method is a search over it. Left out: over learning rates only."""

    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()
    decision: Decision = Decision()
    checkpoint: Checkpoint = Checkpoint()
    backends: Annotated[tuple[str, ...], Field(min_length=1)] = ("torch",)
    """Folders in backends/; every method runs on each of these that it supports."""

    launch: Launch = Launch()
    track: tuple[str, ...] = ()
    """Trackers that runs are mirrored into, by their names in `tunelab list trackers`; docs/trackers.md."""
    published: dict[str, Published] = {}
    """Peaks that others have published, by method: what is predicted is shown beside them. Changes no run."""
