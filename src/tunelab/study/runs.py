"""The runs that a study has at this moment: base, methods x seeds, and searches over the learning rate as far as
they have come. A search tries every rate on the first seed with the full budget; the lowest validation loss wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tunelab.config.schema import RunConfig
from tunelab.records import RunEntry
from tunelab.study.plan import Plan, Revisions, base_run, cells, identity, method_run
from tunelab.study.store import Store


class StudyRun(NamedTuple):
    entry: RunEntry
    run: RunConfig | None
    """None while a search has not said which learning rate it will have."""


Place = Callable[[RunConfig], RunConfig]
"""Gives a run the id under which it lies on disk."""


def study_runs(
    plan: Plan, revisions: Revisions, store: Store, *, settled: Callable[[str], bool], place: Place = lambda run: run
) -> list[StudyRun]:
    """First seed of everything before the second, so that a first picture comes early.

    Args:
        settled: whether a run id will not get another result now: finished, or tried and failed.
    """
    found: list[StudyRun] = []
    for backend in plan.study.backends:
        for task in plan.tasks:
            found.append(_entry(place(base_run(plan, task, backend, revisions)), role="base", tried=0))
    rows = []
    for backend, task, method in cells(plan):

        def run(seed: int, rate: float, *, key=(task, backend), method=method) -> RunConfig:
            return place(method_run(plan, *key, revisions, method=method, seed=seed, rate=rate))

        first = {rate: run(plan.study.seeds[0], rate) for rate in method.learning_rates}
        winner = _winner(first, store, settled)
        rows.append((task, backend, method, run, first, winner))
    for *_, first, winner in rows:
        for rate, candidate in first.items():
            found.append(_entry(candidate, role="run" if rate == winner else "candidate", tried=len(first)))
    for seed in plan.study.seeds[1:]:
        for task, backend, method, run, first, winner in rows:
            if winner is None:
                pending = RunEntry("", method.label, task.name, seed, backend, None, "run", len(first))
                found.append(StudyRun(pending, None))
            else:
                found.append(_entry(run(seed, winner), role="run", tried=len(first)))
    return found


def _winner(candidates: dict[float, RunConfig], store: Store, settled: Callable[[str], bool]) -> float | None:
    """None while a candidate may still come, and where every candidate failed."""
    if len(candidates) == 1:
        return next(iter(candidates))
    if not all(settled(run.id) for run in candidates.values()):
        return None
    losses = {}
    for rate, run in candidates.items():
        result = store.run(run.id).read_result()
        if result is not None and result.validation_loss is not None:
            losses[rate] = result.validation_loss
    return min(losses, key=lambda rate: losses[rate], default=None)


def _entry(run: RunConfig, *, role: str, tried: int) -> StudyRun:
    rate = run.method.get("learning_rate")
    entry = RunEntry(run.id, run.method["label"], run.task, run.seed, run.backend, rate, role, tried)
    return StudyRun(entry, run)


def runs_on_disk(plan: Plan, store: Store) -> list[RunEntry]:
    """The study's runs found by what study.yaml says, whatever the revisions of model and data were when they ran;
    of several the newest. For a report that needs neither model nor data."""
    known: dict[str, tuple[float, str]] = {}
    for folder in store.all_runs():
        run, age = folder.read_run(), (folder.path / "run.json").stat().st_mtime
        key = identity(run, revisions=False)
        known[key] = max(known.get(key, (0.0, "")), (age, run.id))

    def place(run: RunConfig) -> RunConfig:
        return run.model_copy(update={"id": known.get(identity(run, revisions=False), (0.0, run.id))[1]})

    found = study_runs(plan, Revisions(), store, settled=lambda run_id: True, place=place)
    return [study_run.entry for study_run in found]
