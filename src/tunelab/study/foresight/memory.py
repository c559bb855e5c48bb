"""The memory of a study's methods before anything is loaded: which of them fit, and the way out for the others."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, NamedTuple

from tunelab.backends.torch.speed.peaks import peak
from tunelab.config.schema import BatchSettings, ModelSource
from tunelab.device import cpu_bytes, gpu_bytes
from tunelab.entries import GIB, PHASES, Device, Forecast
from tunelab.errors import ConfigError
from tunelab.models.configurations import knows_sources, reads_sources
from tunelab.models.load import read_configuration
from tunelab.records import RowSize
from tunelab.stages import stage
from tunelab.study.foresight.apart import made_apart
from tunelab.study.foresight.fits import Setting, WayOut, way_out
from tunelab.study.foresight.known import foreseen, is_foreseen
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
        phases = {phase: getattr(each.forecast, phase) for phase in PHASES}
        facts |= {"phases": phases, "texts": each.forecast.texts, "peak": each.forecast.peak}
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


def study_memory(plan: Plan, *, asked: Asked, processes: int = 1) -> StudyMemory:
    """Of every method, task and back end of the study: of the first candidate of a search.

    Args:
        processes: that find what is not known yet, at once. They are forks: 1 in a process that has threads at work.

    Raises:
        ConfigError: a method that does not fit the model.
    """
    places = _places(plan, asked)
    unknown = [each for each in places if not each.is_known(asked.device)]
    if processes > 1 and len(unknown) > 1:
        with stage(f"predicting memory: {len(unknown)} methods"):
            for name in {each.backend for each in unknown}:
                load_backend(name).warm(plan.study.model)
            made_apart([functools.partial(_of_method, each, asked=asked) for each in unknown], processes=processes)
    found = []
    for each in places:
        with stage(f"predicting memory: {each.method.label} on {each.task.name}"):
            found.append(_of_method(each, asked=asked))
    return StudyMemory(
        plan.study.name,
        plan.study.model.name,
        asked.device,
        asked.limit,
        tuple(found),
        tuple(_notes(plan, asked.device, found)),
    )


def known_memory(plan: Plan, *, asked: Asked) -> StudyMemory | None:
    """The same, where it was found before; then nothing that takes time is imported."""
    configuration = read_configuration(plan.study.model)
    if configuration is None or not knows_sources(configuration):
        return None
    known = all(each.is_known(asked.device) for each in _places(plan, asked))
    return study_memory(plan, asked=asked) if known else None


class _Place(NamedTuple):
    """One of the study's cells."""

    backend: str
    task: PlannedTask
    method: PlannedMethod
    setting: Setting

    def is_known(self, on: Device) -> bool:
        return is_foreseen(self.setting.run, self.setting.method, self.setting.rows, on=on)


def _places(plan: Plan, asked: Asked) -> list[_Place]:
    return [_Place(*cell, _setting(plan, *cell, asked=asked)) for cell in cells(plan)]


def _setting(plan: Plan, backend: str, task: PlannedTask, planned: PlannedMethod, *, asked: Asked) -> Setting:
    candidate = planned.candidates[0]
    run = method_run(
        plan,
        task,
        backend,
        revisions(plan, backend, asked),
        method=planned,
        seed=plan.study.seeds[0],
        candidate=candidate,
    )
    return Setting(run, candidate.method, filled(plan.study.model, run.batch, run.batch.max_tokens))


def _of_method(place: _Place, *, asked: Asked) -> MethodMemory:
    label, task, setting = place.method.label, place.task.name, place.setting
    forecast = foreseen_setting(setting, on=asked.device)
    if forecast is None:
        return MethodMemory(label, task, place.backend, setting.rows, forecast, None, None)
    fits = forecast.peak <= asked.limit
    foresee = functools.partial(foreseen_setting, on=asked.device)
    way = None if fits else way_out(setting, asked.limit, foresee)
    return MethodMemory(label, task, place.backend, setting.rows, forecast, fits, way)


def foreseen_setting(setting: Setting, *, on: Device) -> Forecast | None:
    return foreseen(setting.run, setting.method, setting.rows, on=on)


def revisions(plan: Plan, backend: str, asked: Asked) -> Revisions:
    """With what `auto` becomes on that device, for products and micro-batches."""
    own = load_backend(backend)
    if asked.device == "cuda" and own.num_gpus() == 0:
        return Revisions(precision=asked.narrow if plan.study.precision == "auto" else plan.study.precision)
    asked_for = None if plan.study.threads == "auto" else plan.study.threads
    precision, threads = own.resolve(precision=plan.study.precision, threads=asked_for)
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
        "rows give; the report says what those gave, beside what was measured"
    ]
    untold = [each.method for each in found if each.forecast is None]
    if untold:
        notes.append(f"{', '.join(untold)}: nothing is trained, or the layers cannot be made without weights: not told")
    if on == "cuda":
        notes.append("GPU: torch's allocator; the CUDA context (0.3 to 0.6 GiB a process) comes on top")
    return notes


def asked_of(text: str, *, device: str | None = None) -> Asked:
    """What --memory says: a size, a GPU's name, 'gpu' or 'cpu' of this machine. `device`: of a size, as `place_of`;
    'gpu' need not be here.

    Raises:
        ConfigError: no size and no device, or no GPU here.
    """
    kind = text.strip().lower()
    if not kind[:1].isalpha():
        limit = size_of(text)
        return Asked("cuda", limit) if device == "gpu" else place_of(device)._replace(limit=limit)
    if kind in ("cpu", "gpu"):
        return place_of(kind, option="--memory")
    try:
        return place_of(text)
    except ConfigError as error:
        raise ConfigError(f"--memory {text}: a size (16GiB), gpu, cpu or a GPU's name; {error}") from None


def place_of(name: str | None, *, option: str = "--device") -> Asked:
    """A device and what it has: 'cpu' or 'gpu' of this machine, or a GPU by its name; None: where runs execute here.

    Raises:
        ConfigError: no GPU here, or none of that name.
    """
    found = gpu_bytes()
    if name == "cpu" or (name is None and found is None):
        return Asked("cpu", cpu_bytes())
    if name is None or name == "gpu":
        if found is None:
            size = ", or its size: --memory 16GiB --device gpu" if option == "--memory" else ""
            raise ConfigError(f"{option} gpu: torch sees no GPU here; give its name, as {option} t4{size}")
        return Asked("cuda", found)
    known = peak(name)
    return Asked("cuda", int(known.memory_gib * USABLE * GIB), "bf16" if known.has_bf16 else "fp16")
