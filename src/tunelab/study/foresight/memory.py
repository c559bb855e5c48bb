"""The memory of a study's methods before anything is loaded: which of them fit, and the way out for the others."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, NamedTuple

from tunelab.backends.torch.speed.peaks import peak
from tunelab.config.schema import BatchSettings, ModelSource
from tunelab.contracts import Method
from tunelab.device import cpu_bytes, gpu_bytes
from tunelab.entries import GIB, PHASES, Device, Forecast
from tunelab.errors import ConfigError
from tunelab.models.configurations import reads_sources
from tunelab.models.load import read_configuration
from tunelab.records import RowSize
from tunelab.stages import stage
from tunelab.study.foresight.fits import Setting, WayOut, way_out
from tunelab.study.foresight.known import foreseen
from tunelab.study.planning.plan import load_backend
from tunelab.study.planning.planned import Plan, PlannedMethod, PlannedTask, Revisions
from tunelab.study.planning.run_config import cells, method_run

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(K|M|G|T)?(i?)B?", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
USABLE = 0.93
"""Of a GPU's memory as sold, less driver and context: what is left for tensors, roughly."""


class Asked(NamedTuple):
    device: Device
    limit: int
    """Bytes."""
    narrow: Literal["bf16", "fp16"] = "bf16"
    """What `precision: auto` is on that GPU."""


class MethodMemory(NamedTuple):
    method: str
    """The label."""
    task: str
    backend: str
    rows: tuple[RowSize, ...]
    """Of the micro-batch that was followed: (tokens, learned ones, tokens of the source)."""
    forecast: Forecast | None
    """None: it cannot be told here."""
    fits: bool | None
    """Under the limit; None: no forecast."""
    way_out: WayOut | None


class StudyMemory(NamedTuple):
    study: str
    model: str
    device: Device
    limit: int
    """Bytes."""
    methods: tuple[MethodMemory, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What `tunelab plan --memory --json` adds. Bytes."""
        return {"device": self.device, "limit": self.limit, "methods": [_as_json(each) for each in self.methods],
                "notes": list(self.notes)}  # fmt: skip


def _as_json(each: MethodMemory) -> dict[str, Any]:
    facts: dict[str, Any] = {"method": each.method, "task": each.task, "backend": each.backend, "rows": list(each.rows)}
    if each.forecast is not None:
        facts |= {"phases": {phase: each.forecast.parts(phase) for phase in PHASES}, "peak": each.forecast.peak}
    way = each.way_out and {"changes": list(each.way_out.said), "peak": each.way_out.forecast.peak}
    return {**facts, "fits": each.fits, "way_out": way}


def size_of(text: str) -> int:
    """Bytes of '16GiB', '24G' or '500 MB'; with an i, and without a B, powers of 1024.

    Raises:
        ConfigError: no size.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"--memory {text}: a size above 0 is wanted, as 16GiB or 500MB, or gpu, or cpu")
    decimal = text.strip().lower().endswith("b") and not match[3] and match[2]
    return int(float(match[1]) * (1000 if decimal else 1024) ** POWERS[(match[2] or "").lower()])


def study_memory(plan: Plan, *, asked: Asked) -> StudyMemory:
    """Of every method, task and back end of the study: of the first candidate of a search.

    Raises:
        ConfigError: a method that does not fit the model.
    """
    found = []
    for backend, task, method in cells(plan):
        with stage(f"predicting memory: {method.label} on {task.name}"):
            found.append(_of_method(plan, backend, task, method, asked=asked))
    return StudyMemory(
        plan.study.name,
        plan.study.model.name,
        asked.device,
        asked.limit,
        tuple(found),
        tuple(_notes(plan, asked.device, found)),
    )


def _of_method(plan: Plan, backend: str, task: PlannedTask, planned: PlannedMethod, *, asked: Asked) -> MethodMemory:
    candidate = planned.candidates[0]
    method: Method = candidate.method
    run = method_run(
        plan,
        task,
        backend,
        _revisions(plan, backend, asked),
        method=planned,
        seed=plan.study.seeds[0],
        candidate=candidate,
    )
    setting = Setting(run, method, filled(plan.study.model, run.batch, run.batch.max_tokens))
    forecast = foreseen(run, method, setting.rows, on=asked.device)
    if forecast is None:
        return MethodMemory(planned.label, task.name, backend, setting.rows, forecast, None, None)
    fits = forecast.peak <= asked.limit
    foresee = functools.partial(foreseen_setting, on=asked.device)
    way = None if fits else way_out(setting, asked.limit, foresee)
    return MethodMemory(planned.label, task.name, backend, setting.rows, forecast, fits, way)


def foreseen_setting(setting: Setting, *, on: Device) -> Forecast | None:
    return foreseen(setting.run, setting.method, setting.rows, on=on)


def _revisions(plan: Plan, backend: str, asked: Asked) -> Revisions:
    """With what `auto` becomes on that device, for products and micro-batches."""
    own = load_backend(backend)
    if asked.device == "cuda" and own.num_gpus() == 0:
        return Revisions(precision=asked.narrow if plan.study.precision == "auto" else plan.study.precision)
    precision, threads = own.resolve(precision=plan.study.precision, threads=None)
    return Revisions(precision=precision, threads=threads, max_tokens=own.max_tokens())


def filled(model: ModelSource, batch: BatchSettings, max_tokens: int) -> tuple[RowSize, ...]:
    """Rows of the longest length that fill a micro-batch, all of them learned: no data is read for a forecast."""
    length, configuration = batch.max_length, read_configuration(model)
    count = max(1, min(max_tokens // length, batch.examples))
    source = length if configuration is not None and reads_sources(configuration) else 0
    return ((length, length, source),) * count


def _notes(plan: Plan, on: Device, found: list[MethodMemory]) -> list[str]:
    length = plan.study.batch.max_length
    notes = [
        f"No data is read: micro-batches are full and rows as long as batch.max_length ({length}), the most that real "
        "rows give; the report says what those gave, beside what was measured. Keys and values of generated text are "
        "not counted"
    ]
    untold = [each.method for each in found if each.forecast is None]
    if untold:
        notes.append(f"{', '.join(untold)}: nothing is trained, or the layers cannot be made without weights: not told")
    if on == "cuda":
        notes.append("GPU: torch's allocator; the CUDA context (0.3 to 0.6 GiB a process) comes on top")
    return notes


def asked_of(text: str, *, device: str | None = None) -> Asked:
    """What --memory says: a size, a GPU's name, 'gpu' or 'cpu' of this machine. `device`: of a size, 'cpu' or 'gpu';
    left out: what a run here would take.

    Raises:
        ConfigError: no size and no device, or no GPU here.
    """
    kind = text.strip().lower()
    if kind == "cpu":
        return Asked("cpu", cpu_bytes())
    if kind == "gpu":
        if (found := gpu_bytes()) is None:
            raise ConfigError("--memory gpu: torch sees no GPU here; give its name or size: --memory t4, or "
                              "--memory 16GiB --device gpu")  # fmt: skip
        return Asked("cuda", found)
    if kind[:1].isalpha():
        try:
            known = peak(text)
        except ConfigError as error:
            raise ConfigError(f"--memory {text}: a size (16GiB), gpu, cpu or a GPU's name; {error}") from None
        return Asked("cuda", int(known.memory_gib * USABLE * GIB), "bf16" if known.has_bf16 else "fp16")
    on_gpu = gpu_bytes() is not None if device is None else device == "gpu"
    return Asked("cuda" if on_gpu else "cpu", size_of(text))
