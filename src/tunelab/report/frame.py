"""Records -> one table: a row per method, task and backend, with intervals and words beside the costs.

Rows are compared inside a group: the same study, task and backend. A missing value is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.contracts import Metric
from tunelab.entries import BASE, Deciding, Look, RunEntry, StudyRuns
from tunelab.records import PhaseCost, RunResult
from tunelab.report.devices import Spread, highest_in_all, is_uneven, spread_of
from tunelab.report.marks import Marked, marks_of
from tunelab.report.quality import ScoreCell, assess
from tunelab.report.reading import RunRecords, finished, read_runs, whole_seconds
from tunelab.significance.beside_best import Comparison as Compared

__all__ = ["BASE", "Comparison", "Failure", "Group", "Row", "RunEntry", "StudyRuns", "build_comparison", "without_nan"]


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
    loaded_gib: float | None
    tokens_per_second: float | None
    """Of all devices."""
    tokens_per_second_per_device: float | None
    trainable_parameters: int | None
    total_parameters: int | None
    saved_mib: float | None
    learning_rate: float | None
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
        """The row of comparison.json, with the ids of its finished runs, which are their folders below runs/."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["scores"] = {name: cell._asdict() for name, cell in self.scores.items()}
        values["runs"] = [folder.name for folder in values.pop("run_folders")]
        values["failures"] = [failure._asdict() for failure in self.failures]
        return without_nan(values)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows that may be compared with each other, and the runs behind them."""

    study: str
    task: str
    backend: str
    metrics: tuple[str, ...]
    """The deciding one, then the others in the task's order; empty while nothing has finished."""
    deciding: Deciding
    looks: tuple[Look, ...]
    rows: tuple[Row, ...]
    comparisons: Mapping[str, Compared]
    """By metric: every row beside the best."""
    runs: tuple[RunRecords, ...]
    """In the order of the plan, candidates that lost a search included."""
    diverged: tuple[RunRecords, ...] = ()
    """Candidates of a search that diverged: an outcome of it, and no run that anything waits for."""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.study, self.task, self.backend)

    def higher_is_better(self, metric: str) -> bool:
        """As recorded with the scores."""
        return next(
            run.result.scores[metric].higher_is_better for run in finished(self.runs) if metric in run.result.scores
        )

    @property
    def is_spread(self) -> bool:
        """Whether anything was trained over more than one device."""
        return self.compares_in_all or any(spread.num_devices > 1 for spread in self._spreads)

    @property
    def compares_in_all(self) -> bool:
        """Trained over different numbers of devices: one device's memory and the clock cannot be compared."""
        uneven = any(is_uneven(run.result) for run in self._trained)
        return uneven or len({spread.num_devices for spread in self._spreads}) > 1

    @property
    def _trained(self) -> list[RunRecords]:
        return [run for row in self.rows if row.method != BASE for run in self.runs_of(row.method)]

    @property
    def _spreads(self) -> set[Spread]:
        return {spread_of(run.result) for run in self._trained}

    def runs_of(self, method: str) -> list[RunRecords]:
        """The finished runs that a row averages."""
        return _averaged(self.runs, method)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything a report shows."""

    study: str
    groups: tuple[Group, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(failure for row in self.rows for failure in row.failures)

    @property
    def pending(self) -> tuple[RunEntry, ...]:
        return tuple(run.entry for group in self.groups for run in group.runs if run.state == "pending")

    def as_json(self) -> dict[str, Any]:
        """The rows of comparison.json."""
        return {"study": self.study, "rows": [row.as_json() for row in self.rows]}


def build_comparison(studies: Sequence[StudyRuns], *, metrics: Mapping[str, Metric]) -> Comparison:
    """Read the studies' records and compare; `metrics` by name as in the records, variant included."""
    groups = []
    for study in _named_apart(studies):
        runs = read_runs(study)
        keys = dict.fromkeys((run.entry.task, run.entry.backend) for run in runs)
        for task, backend in keys:
            members = tuple(run for run in runs if (run.entry.task, run.entry.backend) == (task, backend))
            groups.append(_group(study, runs=members, metrics=metrics))
    return Comparison(study=" + ".join(dict.fromkeys(study.name for study in studies)), groups=tuple(groups))


def _named_apart(studies: Sequence[StudyRuns]) -> list[StudyRuns]:
    """The same study run into two folders is two studies: each then carries its folder in the name."""
    names = [study.name for study in studies]
    return [
        study if names.count(study.name) == 1 else study._replace(name=f"{study.name} ({study.folder})")
        for study in studies
    ]


def _group(study: StudyRuns, *, runs: tuple[RunRecords, ...], metrics: Mapping[str, Metric]) -> Group:
    methods = sorted(dict.fromkeys(run.entry.method for run in runs), key=lambda method: method != BASE)
    of_method = {method: _averaged(runs, method) for method in methods}
    known = dict.fromkeys(name for run in finished(runs) for name in run.result.scores)
    names = tuple(sorted(known, key=lambda name: name != study.deciding.metric))
    here = (runs[0].entry.task, runs[0].entry.backend)
    ids = {method: [run.entry.id for run in done] for method, done in of_method.items()}
    looks = tuple(
        look for look in study.looks
        if names and (look.task, look.backend) == here and look.is_of(names[0], study.deciding.rule, ids)
    )  # fmt: skip
    quality = assess(
        of_method, names=names, metrics=metrics, deciding=study.deciding, looks=looks, level=study.level
    )  # fmt: skip
    unsteady = quality.comparisons[names[0]].unsteady if names and names[0] in quality.comparisons else ()
    marked = {
        method: Marked(
            runs=of_method[method],
            cells=quality.cells[method],
            num_tried=_num_tried(runs, method) - _num_further(runs, method),
            is_base=method == BASE,
            is_unsteady=method in unsteady,
        )
        for method in methods
    }
    rows = tuple(
        _row(
            study.name, method=method, runs=[run for run in runs if run.entry.method == method],
            cells=quality.cells[method], marks=marks_of(method, group=marked), notes=quality.notes[method],
        )
        for method in methods
    )  # fmt: skip
    return Group(
        study=study.name, task=runs[0].entry.task, backend=runs[0].entry.backend, metrics=names,
        deciding=study.deciding, looks=looks, rows=rows, comparisons=quality.comparisons,
        runs=tuple(run for run in runs if run.state != "diverged"),
        diverged=tuple(run for run in runs if run.state == "diverged"),
    )  # fmt: skip


def _row(
    study: str, *, method: str, runs: list[RunRecords], cells: dict[str, ScoreCell], marks: tuple[str, ...],
    notes: Sequence[str],
) -> Row:  # fmt: skip
    planned = [run for run in runs if run.entry.role != "candidate"]
    done = [run.result for run in finished(planned)]
    lost = [run for run in runs if run.entry.role == "candidate" and whole_seconds(run) is not None]
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
        loaded_gib=_largest([result.loaded_gib for result in done]),
        tokens_per_second=_mean([result.tokens_per_second for result in done]),
        tokens_per_second_per_device=_mean([_speed_of_one(result) for result in done]),
        trainable_parameters=_largest([result.trainable_parameters for result in done]),
        total_parameters=_largest([result.total_parameters for result in done]),
        saved_mib=_largest([result.saved_mib for result in done]),
        learning_rate=_learning_rate(planned, done),
        searched=dict(next((run.entry.setting for run in finished(planned)), ())),
        num_learning_rates_tried=_num_tried(runs, method),
        search_seconds=sum(whole_seconds(run) or 0.0 for run in lost) if lost else None,
        search_device_seconds=sum(whole_seconds(run, in_all=True) or 0.0 for run in lost) if lost else None,
        run_folders=tuple(run.folder for run in finished(planned)),
        failures=tuple(_failure(run) for run in runs if run.state == "failed"),
        marks=marks,
        notes=tuple(dict.fromkeys([*notes, *(note for run in planned for note in _notes(run))])),
    )  # fmt: skip


def _averaged(runs: Sequence[RunRecords], method: str) -> list[RunRecords]:
    return [run for run in finished(runs) if run.entry.method == method and run.entry.role != "candidate"]


def _num_tried(runs: Sequence[RunRecords], method: str) -> int:
    return max(run.entry.num_tried for run in runs if run.entry.method == method)


def _num_further(runs: Sequence[RunRecords], method: str) -> int:
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
