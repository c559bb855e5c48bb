"""The runs that a study has at this moment: base, methods x seeds, and searches as far as they have come. A search
tries every candidate on the first seed with the full budget; the lowest validation loss wins. Seeds that looks have
added (launch/until.py) are among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, NamedTuple

from tunelab.config.run import RunConfig
from tunelab.entries import Role, RunEntry
from tunelab.errors import UnreadableRun
from tunelab.study.planning.labels import shown
from tunelab.study.planning.plan import identity
from tunelab.study.planning.planned import Candidate, Plan, PlannedMethod, PlannedTask, Revisions
from tunelab.study.planning.run_config import base_run, cells, method_run
from tunelab.study.planning.search import at_rung
from tunelab.study.store import Store


class StudyRun(NamedTuple):
    entry: RunEntry
    run: RunConfig | None
    """None while a search has not said what it will be."""
    diverged: bool = False
    """A candidate of a search that diverged: what the search has found of it, so that it is not tried again."""

    @property
    def is_outcome(self) -> bool:
        """Its divergence is a result of the search, which another candidate wins or may still win."""
        return self.diverged and self.entry.role == "candidate"


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
            found.append(_entry(place(base_run(plan, task, backend, revisions)), "base", _Counts(0)))
    trained: dict[tuple[str, str, str], _Search] = {}
    made: list[tuple[str, PlannedTask, PlannedMethod]] = []
    for backend, task, method in cells(plan):
        if method.method.needs:
            made.append((backend, task, method))
            continue

        def run(seed: int, candidate: Candidate, *, task=task, backend=backend, method=method) -> RunConfig:
            return place(method_run(plan, task, backend, revisions, method=method, seed=seed, candidate=candidate))

        first = partial(run, plan.study.seeds[0])
        trained[backend, task.name, method.label] = _search(method, run, first, store=store, settled=settled)

    def made_run(cell: tuple[str, PlannedTask, PlannedMethod], seed: int) -> StudyRun:
        backend, task, method = cell
        parents = [_parent(trained[backend, task.name, label], seed, plan) for label in method.method.needs]
        if None in parents:
            return _pending(backend, task.name, method.label, seed, _Counts(1))
        facts = {"method": method, "seed": seed, "candidate": method.candidates[0], "parents": parents}
        return _entry(place(method_run(plan, task, backend, revisions, **facts)), "run", _Counts(1))

    looks = store.read_looks()

    def has(seed: int, backend: str, task_name: str, label: str) -> bool:
        return seed in plan.study.seeds or seed in looks.seeds_of(task_name, backend, label)

    further = {seed for one in looks.further for seed in one.seeds} - set(plan.study.seeds)
    for seed in (*plan.study.seeds, *sorted(further)):
        for (backend, task_name, label), search in trained.items():
            if not has(seed, backend, task_name, label):
                continue
            counts = _Counts(len(search.tried), search.num_further, search.num_left_out)
            if seed == plan.study.seeds[0]:
                for place_in_search, each in enumerate(search.tried):
                    role = "run" if place_in_search == search.winner or search.lost else "candidate"
                    found.append(_entry(each.run, role, counts, each.candidate, diverged=each.state == "diverged"))
            elif search.winner is None:
                found.append(_pending(backend, task_name, label, seed, counts))
            else:
                best = search.tried[search.winner].candidate
                found.append(_entry(search.run(seed, best), "run", counts, best))
        found += [made_run(cell, seed) for cell in made if has(seed, cell[0], cell[1].name, cell[2].label)]
    return found


class _Tried(NamedTuple):
    """A candidate on the first seed."""

    candidate: Candidate
    run: RunConfig
    state: Literal["open", "finished", "diverged", "failed", "absent"]
    """open: it may still get a result; absent: not now, and it has left none, as while another process executes it."""
    loss: float | None
    """Its validation loss."""


class _Search(NamedTuple):
    """A method's runs on one task and backend; of a method without a search one is tried, and wins."""

    run: Callable[[int, Candidate], RunConfig]
    """Of a seed and a candidate."""
    tried: list[_Tried]
    num_further: int
    """At the end of `tried`: rungs beyond the ladder."""
    winner: int | None
    """Its place in `tried`; None while a candidate may still come, and where every one has failed."""
    lost: bool
    """Every candidate has failed or diverged."""
    num_left_out: int = 0


def _search(
    method: PlannedMethod,
    run: Callable[[int, Candidate], RunConfig],
    first: Callable[[Candidate], RunConfig],
    *,
    store: Store,
    settled: Callable[[str], bool],
) -> _Search:
    """As far as it has come."""
    if len(method.candidates) == 1:
        return _Search(run, [_Tried(method.candidates[0], first(method.candidates[0]), "open", None)], 0, 0, False)
    tried = [_tried(candidate, first(candidate), store, settled) for candidate in method.candidates]
    winner, further = _winner(tried), None
    if winner is not None and all(each.state != "absent" for each in tried):
        further = _further([each.candidate for each in tried], tried[winner].candidate)
    if further is not None:
        tried.append(_tried(further, first(further), store, settled))
        winner = _winner(tried)
    lost = winner is None and all(each.state in ("diverged", "failed") for each in tried)
    return _Search(run, tried, 0 if further is None else 1, winner, lost, method.num_left_out)


def _tried(candidate: Candidate, run: RunConfig, store: Store, settled: Callable[[str], bool]) -> _Tried:
    folder = store.run(run.id)
    with suppress(UnreadableRun):  # `tunelab run` makes it again, and whoever else looks says so
        result = folder.read_result()
        if result is not None:
            return _Tried(candidate, run, "finished", result.validation_loss)
    if folder.divergence() is not None:
        return _Tried(candidate, run, "diverged", None)
    over = "failed" if folder.failed else "absent"
    return _Tried(candidate, run, over if settled(run.id) else "open", None)


def _winner(tried: Sequence[_Tried]) -> int | None:
    if any(each.state == "open" for each in tried):
        return None
    losses = {place: each.loss for place, each in enumerate(tried) if each.loss is not None}
    return min(losses, key=lambda place: losses[place], default=None)


def _further(tried: Sequence[Candidate], winner: Candidate) -> Candidate | None:
    """Of `learning_rate: auto`, where the winner stands at an edge: one rung beyond it, once."""
    rungs = [each.rung for each in tried if each.rung is not None]
    if winner.rung is None or winner.rung not in (min(rungs), max(rungs)):
        return None
    number = winner.rung + (1 if winner.rung == max(rungs) else -1)
    rate = at_rung(winner.method, number)
    return winner._replace(method=winner.method.model_copy(update={"learning_rate": rate}), rung=number)


def _parent(search: _Search, seed: int, plan: Plan) -> RunConfig | None:
    """The run of the candidate that won; None while that is not known. Where every candidate failed, one of them: what
    waits for it is then told so."""
    if search.winner is not None:
        return search.run(seed, search.tried[search.winner].candidate)
    return search.tried[0].run if search.lost and seed == plan.study.seeds[0] else None


class _Counts(NamedTuple):
    """Of a search, as every run of its method tells them."""

    tried: int
    further: int = 0
    left_out: int = 0


def _pending(backend: str, task: str, label: str, seed: int, counts: _Counts) -> StudyRun:
    return StudyRun(RunEntry("", label, task, seed, backend, None, "run", *counts), None)


def _entry(
    run: RunConfig, role: Role, counts: _Counts, candidate: Candidate | None = None, *, diverged: bool = False
) -> StudyRun:
    rate = run.method.get("learning_rate")
    setting = () if candidate is None else setting_text(candidate)
    label = run.method["label"]
    return StudyRun(
        RunEntry(run.id, label, run.task, run.seed, run.backend, rate, role, *counts, setting), run, diverged
    )


def setting_text(candidate: Candidate) -> tuple[tuple[str, str], ...]:
    """As RunEntry.setting has it."""
    return tuple((field, shown(value)) for field, value in candidate.setting.items())


def runs_on_disk(plan: Plan, store: Store) -> list[RunEntry]:
    """The study's runs found by what study.yaml says, whatever the revisions of model and data were when they ran;
    of several the newest. For a report that needs neither model nor data."""
    return [each.entry for each in study_runs_on_disk(plan, store, settled=lambda run_id: True)]


def study_runs_on_disk(plan: Plan, store: Store, *, settled: Callable[[str], bool]) -> list[StudyRun]:
    """As `study_runs`, without a model or data on this machine."""
    known: dict[str, tuple[float, str]] = {}
    for folder in store.all_runs():
        try:
            run, age = folder.read_run(), (folder.path / "run.json").stat().st_mtime
        except UnreadableRun:  # as above
            continue
        key = identity(run, revisions=False)
        known[key] = max(known.get(key, (0.0, "")), (age, run.id))

    def place(run: RunConfig) -> RunConfig:
        return run.model_copy(update={"id": known.get(identity(run, revisions=False), (0.0, run.id))[1]})

    return study_runs(plan, Revisions(), store, settled=settled, place=place)
