"""The runs that a study has at this moment: base, methods x seeds, and searches over the learning rate as far as
they have come. A search tries every rate on the first seed with the full budget; the lowest validation loss wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tunelab.config.run import RunConfig
from tunelab.entries import Role, RunEntry
from tunelab.study.planning.plan import identity
from tunelab.study.planning.planned import Plan, PlannedMethod, PlannedTask, Revisions
from tunelab.study.planning.run_config import base_run, cells, method_run
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
    trained: dict[tuple[str, str, str], _Trained] = {}
    made: list[tuple[str, PlannedTask, PlannedMethod]] = []
    for backend, task, method in cells(plan):
        if method.method.needs:
            made.append((backend, task, method))
            continue

        def run(seed: int, rate: float, *, task=task, backend=backend, method=method) -> RunConfig:
            return place(method_run(plan, task, backend, revisions, method=method, seed=seed, rate=rate))

        # Only for its type: what has no rate needs other runs, and is in `made`.
        first = {rate: run(plan.study.seeds[0], rate) for rate in method.learning_rates if rate is not None}
        trained[backend, task.name, method.label] = _Trained(run, first, _winner(first, store, settled))

    def made_run(cell: tuple[str, PlannedTask, PlannedMethod], seed: int) -> StudyRun:
        backend, task, method = cell
        parents = [_parent(trained[backend, task.name, label], seed, plan, settled) for label in method.method.needs]
        if None in parents:
            return _pending(backend, task.name, method.label, seed, tried=1)
        facts = {"method": method, "seed": seed, "rate": None, "parents": parents}
        return _entry(place(method_run(plan, task, backend, revisions, **facts)), role="run", tried=1)

    for seed in plan.study.seeds:
        for (backend, task_name, label), row in trained.items():
            tried = len(row.first)
            if seed == plan.study.seeds[0]:
                for rate, candidate in row.first.items():
                    role = "run" if rate == row.winner else "candidate"
                    found.append(_entry(candidate, role=role, tried=tried))
            elif row.winner is None:
                found.append(_pending(backend, task_name, label, seed, tried=tried))
            else:
                found.append(_entry(row.run(seed, row.winner), role="run", tried=tried))
        found += [made_run(cell, seed) for cell in made]
    return found


class _Trained(NamedTuple):
    """A method's runs on one task and backend."""

    run: Callable[[int, float], RunConfig]
    """Of a seed and a learning rate."""
    first: dict[float, RunConfig]
    """On the first seed, by learning rate."""
    winner: float | None


def _parent(row: _Trained, seed: int, plan: Plan, settled: Callable[[str], bool]) -> RunConfig | None:
    """The run at the learning rate that won; None while that is not known. Where every rate failed, one of them: what
    waits for it is then told so."""
    if row.winner is not None:
        return row.run(seed, row.winner)
    failed = seed == plan.study.seeds[0] and all(settled(run.id) for run in row.first.values())
    return next(iter(row.first.values())) if failed else None


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


def _pending(backend: str, task: str, label: str, seed: int, *, tried: int) -> StudyRun:
    return StudyRun(RunEntry("", label, task, seed, backend, None, "run", tried), None)


def _entry(run: RunConfig, *, role: Role, tried: int) -> StudyRun:
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
