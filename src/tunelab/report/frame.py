"""Records -> one table: a row per method, task and backend. Rows are compared inside a group: the same study, task and
backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunelab.contracts import Metric
from tunelab.entries import BASE, Deciding, Look, RunEntry, StudyRuns
from tunelab.report.devices import Spread, is_uneven, spread_of
from tunelab.report.marks import Marked, marks_of, unfinished
from tunelab.report.quality import assess
from tunelab.report.reading import RunRecords, finished, read_runs
from tunelab.report.rows import Failure, Row, averaged, num_further, num_tried, row_of, rows_as_json, without_nan
from tunelab.significance.beside_best import Comparison as Compared

__all__ = ["BASE", "Comparison", "Failure", "Group", "Row", "RunEntry", "StudyRuns", "build_comparison", "without_nan"]


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
        return averaged(self.runs, method)


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
        return {"study": self.study, "rows": rows_as_json(self.rows)}


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
    of_method = {method: averaged(runs, method) for method in methods}
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
            num_tried=num_tried(runs, method) - num_further(runs, method),
            is_base=method == BASE,
            is_unsteady=method in unsteady,
            unfinished=unfinished([run for run in runs if run.entry.method == method]),
        )
        for method in methods
    }
    rows = tuple(
        row_of(
            study.name, method=method, runs=[run for run in runs if run.entry.method == method],
            cells=quality.cells[method], marks=marks_of(method, group=marked), notes=quality.notes[method],
            deciding=study.deciding,
        )
        for method in methods
    )  # fmt: skip
    return Group(
        study=study.name, task=runs[0].entry.task, backend=runs[0].entry.backend, metrics=names,
        deciding=study.deciding, looks=looks, rows=rows, comparisons=quality.comparisons,
        runs=tuple(run for run in runs if run.state != "diverged"),
        diverged=tuple(run for run in runs if run.state == "diverged"),
    )  # fmt: skip
