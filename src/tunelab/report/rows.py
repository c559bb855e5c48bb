"""One row of the report: a method on a task, with its means over the seeds, intervals, and what must be said of it.

A missing value is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.config.price import cost as money
from tunelab.config.price import watt_hours
from tunelab.entries import Deciding
from tunelab.records import PhaseCost, RunResult
from tunelab.report.devices import highest_in_all, is_uneven
from tunelab.report.options import effective_optimizer, options_of
from tunelab.report.quality import ScoreCell
from tunelab.report.reading import RunRecords, finished, whole_seconds


class Failure(NamedTuple):
    """A run that ended with an error."""

    run: str
    method: str
    task: str
    seed: int
    learning_rate: float | None
    error: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one task: means over its finished seeds. None: not measured, or nothing has finished."""

    study: str
    method: str
    task: str
    backend: str
    num_seeds: int
    """Finished seeds; the averages are over these."""
    num_seeds_planned: int
    scores: dict[str, ScoreCell]
    """The first metric decides."""
    num_devices: int | None
    """Over which each seed was trained; where seeds differ the most, and a mark. Of the base: over which it ran."""
    num_nodes: int | None
    sharded: bool | None
    train_seconds: float | None
    """Mean of the train phase, by the clock."""
    train_device_seconds: float | None
    """The same of all devices, added."""
    evaluate_seconds: float | None
    peak_train_gib: float | None
    """Largest over the seeds, absolute; of several devices the largest one's."""
    peak_train_all_gib: float | None
    """The same of all devices, added."""
    train_rapl_wh: float | None
    """Mean of what the machine's processor packages took meanwhile, of whatever ran on them."""
    train_nvml_wh: float | None
    """Mean of what its GPUs took."""
    price: float | None
    """Of all phases of a seed (mean) and the whole search, on all devices, where the study has a price."""
    power_wh: float | None
    """Their energy by the power that was given, not measured."""
    loaded_gib: float | None
    tokens_per_second: float | None
    """Of all devices."""
    tokens_per_second_per_device: float | None
    trainable_parameters: int | None
    total_parameters: int | None
    saved_mib: float | None
    learning_rate: float | None
    options: dict[str, Any]
    """The method's own fields as it was run, defaults included; empty: the base, or no run has begun."""
    optimizer: list[dict[str, Any]]
    """Effective: one entry a parameter group, of the first finished seed."""
    searched: dict[str, str]
    """Fields beside the learning rate that a search has chosen, and their values as text."""
    num_learning_rates_tried: int
    search_seconds: float | None
    """All phases of the candidates that lost or diverged; None where nothing was searched."""
    search_device_seconds: float | None
    run_folders: tuple[Path, ...]
    """Of the finished seeds, in their order: what `generate`, `evaluate`, `export` and `show` take."""
    failures: tuple[Failure, ...]
    marks: tuple[str, ...]
    """What a reader must know before comparing this row with another."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The row as `rows_as_json` has it, with the ids of its finished runs, which are their folders below runs/."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["scores"] = {name: cell._asdict() for name, cell in self.scores.items()}
        values["runs"] = [folder.name for folder in values.pop("run_folders")]
        values["failures"] = [failure._asdict() for failure in self.failures]
        return without_nan(values)


RARE = ("train_rapl_wh", "train_nvml_wh", "price", "power_wh")
"""Values that stand in the files where any row has one."""


def rows_as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of comparison.json, all with the same values."""
    absent = {name for name in RARE if all(getattr(row, name) is None for row in rows)}
    return [{name: value for name, value in row.as_json().items() if name not in absent} for row in rows]


def row_of(
    study: str, *, method: str, runs: list[RunRecords], cells: dict[str, ScoreCell], marks: tuple[str, ...],
    notes: Sequence[str], deciding: Deciding,
) -> Row:  # fmt: skip
    """`runs`: all of the method in its group, candidates of a search included."""
    planned = [run for run in runs if run.entry.role != "candidate"]
    done = [run.result for run in finished(planned)]
    lost = [run for run in runs if run.entry.role == "candidate" and whole_seconds(run) is not None]
    in_search = sum(whole_seconds(run, in_all=True) or 0.0 for run in lost)
    of_a_seed = _mean([whole_seconds(run, in_all=True) for run in finished(planned)])
    spent = None if of_a_seed is None else of_a_seed + in_search
    watts, price = deciding.watts, deciding.price_per_hour
    return Row(
        study=study, method=method, task=runs[0].entry.task, backend=runs[0].entry.backend,
        num_seeds=len(done), num_seeds_planned=len({run.entry.seed for run in planned}), scores=cells,
        num_devices=_largest([result.num_devices for result in done]),
        num_nodes=_largest([result.num_nodes for result in done]),
        sharded=_largest([result.sharded for result in done]),
        train_seconds=_mean([cost.seconds for cost in _costs(done, "train")]),
        train_device_seconds=_mean([cost.seconds_in_all for cost in _costs(done, "train")]),
        evaluate_seconds=_mean([cost.seconds for cost in _costs(done, "evaluate")]),
        peak_train_gib=_largest([cost.peak_gib for cost in _costs(done, "train")]),
        peak_train_all_gib=highest_in_all(_costs(done, "train")),
        train_rapl_wh=_mean([in_watt_hours(cost.rapl_joules) for cost in _costs(done, "train")]),
        train_nvml_wh=_mean([in_watt_hours(cost.nvml_joules) for cost in _costs(done, "train")]),
        price=None if price is None or spent is None else money(spent, price),
        power_wh=None if watts is None or spent is None else watt_hours(spent, watts),
        loaded_gib=_largest([result.loaded_gib for result in done]),
        tokens_per_second=_mean([result.tokens_per_second for result in done]),
        tokens_per_second_per_device=_mean([_speed_of_one(result) for result in done]),
        trainable_parameters=_largest([result.trainable_parameters for result in done]),
        total_parameters=_largest([result.total_parameters for result in done]),
        saved_mib=_largest([result.saved_mib for result in done]),
        learning_rate=_learning_rate(planned, done),
        options=options_of(planned),
        optimizer=effective_optimizer(done),
        searched=dict(next((run.entry.setting for run in finished(planned)), ())),
        num_learning_rates_tried=num_tried(runs, method),
        search_seconds=sum(whole_seconds(run) or 0.0 for run in lost) if lost else None,
        search_device_seconds=in_search if lost else None,
        run_folders=tuple(run.folder for run in finished(planned)),
        failures=tuple(_failure(run) for run in runs if run.state == "failed"),
        marks=marks,
        notes=tuple(dict.fromkeys([*notes, *(note for run in planned for note in _notes(run))])),
    )  # fmt: skip


def averaged(runs: Sequence[RunRecords], method: str) -> list[RunRecords]:
    """The finished runs whose mean a row is."""
    return [run for run in finished(runs) if run.entry.method == method and run.entry.role != "candidate"]


def num_tried(runs: Sequence[RunRecords], method: str) -> int:
    """Candidates of its search."""
    return max(run.entry.num_tried for run in runs if run.entry.method == method)


def num_further(runs: Sequence[RunRecords], method: str) -> int:
    """Of them beyond the ladder of `learning_rate: auto`."""
    return max(run.entry.num_further for run in runs if run.entry.method == method)


def _learning_rate(planned: list[RunRecords], done: list[RunResult]) -> float | None:
    known = [result.learning_rate for result in done] + [run.entry.learning_rate for run in planned]
    return next((rate for rate in known if rate is not None), None)


def _failure(run: RunRecords) -> Failure:
    entry = run.entry
    return Failure(entry.id, entry.method, entry.task, entry.seed, entry.learning_rate, run.error or "")


def _notes(run: RunRecords) -> list[str]:
    own = run.result.notes if run.state == "finished" else []
    return [*own, *(f"{run.entry.id}: {problem}" for problem in run.problems)]


def _costs(done: Sequence[RunResult], phase: str) -> list[PhaseCost]:
    return [result.phases[phase] for result in done if phase in result.phases]


def in_watt_hours(joules: float | None) -> float | None:
    return None if joules is None else joules / 3600


def _speed_of_one(result: RunResult) -> float | None:
    speed = result.tokens_per_second
    return None if speed is None or is_uneven(result) else speed / result.num_devices


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _largest(values: Sequence[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def without_nan(value: Any) -> Any:
    """JSON has no NaN: what is not a number is missing."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
