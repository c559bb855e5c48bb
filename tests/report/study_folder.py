"""Writes a study's records as the executor would: two tasks, a base, three methods, one of them searched.

On `restaurants` one run failed and one is not there; the texts try to break out of the page. Scores follow a plan:
full is best, lora r=8 is as good, lora r=4 is worse, the base far behind.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tunelab.contracts import Metric
from tunelab.entries import RunEntry, StudyRuns
from tunelab.records import (  # fmt: skip
    PhaseCost,
    Prediction,
    Provenance,
    RunResult,
    Score,
    StepRecord,
    ValidationRecord,
)

SKILL = {"base": 0.2, "full": 0.71, "lora r=4": 0.64, "lora r=8": 0.705}
COST = {"base": (None, None), "full": (1.9, 62.0), "lora r=4": (0.98, 41.0), "lora r=8": (1.02, 44.0)}
TRAINED = {"base": 0, "full": 5_000_000, "lora r=4": 60_000, "lora r=8": 120_000}
LORA = {"alpha": 16.0, "scaling": "standard", "ranks": {}, "dropout": 0.0, "targets": "all-linear"}
OPTIONS = {"full": {"optimizer": "adamw"}, "lora r=4": {"rank": 4, **LORA}, "lora r=8": {"rank": 8, **LORA}}
TRIED = {"lora r=8": (1e-4, 3e-4, 1e-3)}
MADE_UP: dict[str, tuple[float, float, float, dict[str, Any]]] = {}
"""Methods of many_methods.py: skill, GiB, seconds and options."""
HOSTILE = "<script>alert('x')</script></style></svg>]]>{{ 7*7 }}"


class MeanOfStatistic(Metric):
    """Sum of values over number of examples."""

    def statistics(self, predictions):  # not needed: the records hold them
        raise NotImplementedError

    def aggregate(self, totals: np.ndarray) -> np.ndarray:
        return totals[..., 0] / totals[..., 1]

    def signature(self) -> str:
        return "mean"


class MeanLoss(MeanOfStatistic):
    higher_is_better: ClassVar[bool] = False


METRICS = {"rouge_l": MeanOfStatistic(), "loss": MeanLoss()}


def write_study(
    folder: Path, *, name: str = "small", tasks: tuple[str, ...] = ("restaurants", "headlines"),
    seeds: tuple[int, ...] = (0, 1), methods: tuple[str, ...] = tuple(SKILL), num_examples: int = 60,
    spoil: bool = True, written: bool = True,
) -> StudyRuns:  # fmt: skip
    """`spoil`: on the first task the last seed of 'full' failed and that of 'lora r=4' is missing.

    `written`: whether there are any records.
    """
    entries = []
    for task in tasks:
        for method in methods:
            for seed in seeds[:1] if method == "base" else seeds:
                entries += _entries(method, task, seed, first=seed == seeds[0])
    for entry in entries:
        spoilt = spoil and entry.task == tasks[0] and entry.seed == seeds[-1]
        home = folder / "runs" / entry.id
        if not written or (spoilt and entry.method == "lora r=4"):
            continue
        if spoilt and entry.method == "full":
            write_failure(home, entry, f"the loss is not finite at step 12 {HOSTILE}")
            continue
        write_run(home, entry, num_examples=num_examples)
    return StudyRuns(name, folder, tuple(entries))


def _entries(method: str, task: str, seed: int, *, first: bool) -> list[RunEntry]:
    if method == "base":
        return [RunEntry(f"base-{task}-{seed}", method, task, seed, "torch", None, "base", 0)]
    rates = TRIED.get(method, (2e-4,))
    kept = rates[len(rates) // 2]
    entries = []
    for rate in rates if first else (kept,):
        slug = f"{method.replace(' ', '-').replace('=', '')}-{task}-{seed}-{rate:g}"
        role = "run" if rate == kept else "candidate"
        entries.append(RunEntry(slug, method, task, seed, "torch", rate, role, len(rates)))
    return entries


def write_failure(home: Path, entry: RunEntry, error: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    failure = {
        "run": entry.id, "method": entry.method, "task": entry.task, "seed": entry.seed,
        "learning_rate": entry.learning_rate, "error": error, "when": "2025-01-01T00:00:00Z",
    }  # fmt: skip
    (home / "failure.json").write_text(json.dumps(failure))


def write_run(home: Path, entry: RunEntry, *, num_examples: int = 60, steps: int = 60, **changes: Any) -> RunResult:
    """One finished run; `changes` replace fields of its result."""
    home.mkdir(parents=True, exist_ok=True)
    predictions = _predictions(entry, num_examples)
    (home / "run.json").write_text(json.dumps({**_config(entry), "provenance": {"python": "3"}}))
    _lines(home / "predictions.jsonl", predictions)
    if entry.role != "base":
        (home / "model").mkdir(exist_ok=True)
        _lines(home / "steps.jsonl", _steps(entry, steps))
        _lines(home / "validation.jsonl", _validation(entry, steps))
    result = _result(entry, predictions, steps).model_copy(update=changes)
    (home / "result.json").write_text(result.model_dump_json())
    return result


def _skill(method: str) -> float:
    return MADE_UP[method][0] if method in MADE_UP else SKILL.get(method, 0.5)


def _random(*key: Any) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def _predictions(entry: RunEntry, num_examples: int) -> list[Prediction]:
    skill = _skill(entry.method) - (0.05 if entry.role == "candidate" else 0)
    hardness = _random(entry.task).normal(0, 0.08, num_examples)
    own = _random(entry.method, entry.task, entry.seed).normal(0, 0.04, num_examples)
    values = np.clip(skill + hardness + own, 0, 1)
    text = HOSTILE if entry.method == "lora r=4" else "The Eagle is a cheap French pub near the river."
    return [
        Prediction(
            id=f"{entry.task}-{place}", prompt=f"name[The Eagle], eatType[pub], price[cheap] #{place}\nWrite:",
            prediction=f"{text} ({place})", references=("The Eagle is a cheap pub by the river.", HOSTILE),
            statistics={"rouge_l": (float(value), 1.0), "loss": (3 * (1 - float(value)), 1.0)},
        )
        for place, value in enumerate(values)
    ]  # fmt: skip


def _steps(entry: RunEntry, steps: int) -> list[StepRecord]:
    noise = _random(entry.id).normal(0, 0.05, steps)
    losses = 1.4 - _skill(entry.method) + 2.2 * np.exp(-np.arange(steps) / 14) + noise
    smooth = np.convolve(losses, np.ones(8) / 8, mode="full")[:steps] * 8 / np.minimum(np.arange(steps) + 1, 8)
    return [
        StepRecord(
            step=step + 1, loss=float(losses[step]), learning_rate=2e-4, grad_norm=1.0, num_tokens=900,
            num_supervised_tokens=400, seconds=0.5, ema_loss=float(smooth[step]), tokens_per_second=1800.0,
        )
        for step in range(steps)
    ]  # fmt: skip


def _validation(entry: RunEntry, steps: int) -> list[ValidationRecord]:
    found = []
    for step in range(steps // 4, steps + 1, steps // 4):
        loss = _final_loss(entry) + 1.5 * float(np.exp(-step / 14))
        found.append(ValidationRecord(
            step=step, epoch=step / steps, loss=loss, sequence_loss=loss * 20, perplexity=float(np.exp(loss)),
            bits_per_token=loss / np.log(2), tokens=2000, sequences=100,
        ))  # fmt: skip
    return found


def _final_loss(entry: RunEntry) -> float:
    return 1.5 - _skill(entry.method) + 0.01 * entry.seed + (0.1 if entry.role == "candidate" else 0)


def _result(entry: RunEntry, predictions: list[Prediction], steps: int) -> RunResult:
    memory, seconds = COST.get(entry.method, (1.5, 50.0))
    if entry.method in MADE_UP:
        memory, seconds = MADE_UP[entry.method][1:3]
    trained = TRAINED.get(entry.method, 1000)
    is_base = entry.role == "base"
    phases = {"load": PhaseCost(seconds=1.2, peak_gib=0.7, peak_method="vmhwm-reset")}
    if not is_base:
        phases["prepare"] = PhaseCost(seconds=0.4, peak_gib=0.8, peak_method="vmhwm-reset")
        phases["train"] = PhaseCost(
            seconds=seconds + entry.seed, peak_gib=memory + 0.01 * entry.seed, peak_method="vmhwm-reset"
        )
    phases["evaluate"] = PhaseCost(seconds=9.0, peak_gib=0.9, peak_method="vmhwm-reset")
    scores = {}
    for name, metric in METRICS.items():
        totals = np.sum([prediction.statistics[name] for prediction in predictions], axis=0)
        value = float(metric.aggregate(totals))
        scores[name] = Score(
            value=value, low=value - 0.02, high=value + 0.02, n=len(predictions), signature=f"{name}|v1",
            higher_is_better=metric.higher_is_better,
        )  # fmt: skip
    return RunResult(
        run=entry.id, method=entry.method, task=entry.task, seed=entry.seed, backend=entry.backend,
        learning_rate=entry.learning_rate, scores=scores, phases=phases,
        trainable_parameters=trained, total_parameters=5_000_000 + trained % 5_000_000,
        loaded_gib=0.6, saved_mib=None if is_base else trained * 4 / 2**20,
        tokens_per_second=None if is_base else 54_000 / seconds, tokens_per_second_first=None,
        num_steps=0 if is_base else steps, num_tokens=0 if is_base else steps * 900,
        num_supervised_tokens=0 if is_base else steps * 400, validation_loss=_final_loss(entry),
        optimizer=[] if is_base else [
            {"rule": "AdamW", "learning_rate": entry.learning_rate, "betas": [0.9, 0.999], "eps": 1e-8,
             "weight_decay": 0.0, "parameters": trained},
        ],
        notes=["3 of 500 training rows were cut to 512 tokens"], provenance=Provenance(
            tunelab="0.1.0", python="3.11.2", packages={"torch": "2.9.0", "transformers": "5.0.1"}, threads=2,
            precision="fp32", device="cpu", hardware="AMD EPYC, 2 cores, 8 GiB", platform="Linux", git="0123abc",
            started=f"2025-01-01T00:0{entry.seed}:00Z",
        ),
    )  # fmt: skip


def _config(entry: RunEntry) -> dict[str, Any]:
    return {
        "id": entry.id, "backend": entry.backend, "task": entry.task, "task_options": {}, "seed": entry.seed,
        "method": {"name": entry.method.split()[0], "label": entry.method, **_options(entry)},
        "model": {"name": "tunelab/tiny"},
        "model_revision": "a" * 64, "data_revision": "b" * 64, "budget": {"epochs": 3}, "batch": {}, "data": {},
        "precision": "fp32", "threads": 2, "activation_checkpointing": False, "optimizer": {}, "schedule": {},
        "loss": {}, "validation": {}, "generation": {}, "checkpoint": {},
    }  # fmt: skip


def _options(entry: RunEntry) -> dict[str, Any]:
    if entry.method == "base":
        return {}
    made_up = MADE_UP[entry.method][3] if entry.method in MADE_UP else {}
    return {"learning_rate": entry.learning_rate, **OPTIONS.get(entry.method, {}), **made_up}


def _lines(path: Path, records: list[Any]) -> None:
    path.write_text("".join(record.model_dump_json() + "\n" for record in records))
