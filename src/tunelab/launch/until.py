"""`tunelab run --until decided`: seeds are added until every method is as good as the best or worse, or a limit is
reached. Every look at the data is paid for (significance/looks.py) and written down; a killed study goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from tunelab.entries import BASE, Further, Look, Looks, StudyRuns
from tunelab.errors import ConfigError
from tunelab.launch.run import Outcome, View, run_study, runs_to_report, write_study_report
from tunelab.report.frame import Group, build_comparison
from tunelab.significance.looks import Taken, next_level
from tunelab.study.planning.planned import Plan
from tunelab.study.store import Store

FEWEST = 2
"""Seeds at the first look: one says nothing about seeds."""


class Limits(NamedTuple):
    """When to stop without a decision."""

    seeds: int = 10
    """Of a method, at most: here the whole level is spent."""
    hours: float | None = None
    """No seed is added after so many hours of this call."""


def run_until_decided(plan: Plan, *, out: Path, cluster: str | None, view: View, limits: Limits) -> Outcome:
    """As `run_study`, and again with further seeds.

    Raises:
        ConfigError: the study has more seeds than the limit, or a plain run has decided it before with other seeds.
    """
    own = len(plan.study.seeds)
    if limits.seeds < max(own, FEWEST):
        fewest = f"--max-seeds {limits.seeds} is below the study's own {own} seeds" if own > 1 else ""
        raise ConfigError(fewest or f"--max-seeds {limits.seeds}: seeds can be compared from {FEWEST} on")
    store, started = Store(out), time.monotonic()
    if own < FEWEST:
        _add(store, plan, {cell: _next_seeds(plan, store, cell, FEWEST - own) for cell in _cells(plan)})
    while True:
        outcome = run_study(plan, out=out, cluster=cluster, view=view)
        if outcome.num_failed:
            view.told(f"{outcome.num_failed} runs failed: nothing is decided before they have finished.")
            return outcome
        looked = _look(plan, store, limits)
        for each in looked:
            view.told(told(each))
        outcome = outcome._replace(comparison=write_study_report(plan, store))
        wanted = _wanted(plan, store, limits)
        if not wanted:
            return outcome
        if limits.hours is not None and time.monotonic() - started >= 3600 * limits.hours:
            view.told(f"{limits.hours:g} hours are over. The same command goes on.")
            return outcome
        _add(store, plan, {cell: _next_seeds(plan, store, cell, 1) for cell in wanted})


Cell = tuple[str, str, str]
"""Task, back end, label of the method."""


def told(look: Look) -> str:
    """'restaurants at 3 seeds: full, lora undecided (words at 2.1 %)'."""
    words = {}
    for method, word in look.words.items():
        words.setdefault(word, []).append(method)
    said = "; ".join(f"{', '.join(methods)} {word}" for word, methods in words.items())
    return f"{look.task} at {look.counted} seeds: {said} (level {100 * look.level:.2g} %)"


def _look(plan: Plan, store: Store, limits: Limits) -> list[Look]:
    """One a task and back end, where its undecided methods have seeds that were not looked at."""
    looks, made = store.read_looks(), []
    entries = runs_to_report(plan, store)
    metrics = {name: metric for task in plan.tasks for name, metric in task.metrics.items()}
    for group in build_comparison([entries], metrics=metrics).groups:
        earlier = [look for look in looks.looks if (look.task, look.backend) == (group.task, group.backend)]
        counted = _counted(group, earlier)
        if counted is None or (earlier and earlier[-1].counted >= counted):
            continue
        level = next_level([Taken(look.counted, look.level) for look in earlier], counted, limits.seeds)
        made.append(_taken(entries, group, level, counted, limits, metrics))
    store.write_looks(looks.model_copy(update={"looks": (*looks.looks, *made)}))
    return made


def _taken(entries: StudyRuns, group: Group, level: float, counted: int, limits: Limits, metrics) -> Look:
    """The words of a group at this level, those of its earlier looks standing."""
    at_level = build_comparison([entries._replace(level=level)], metrics=metrics)
    found = next(each for each in at_level.groups if each.key == group.key)
    compared = found.comparisons[found.metrics[0]]
    standings = {label: one for label, one in compared.standings.items() if one is not None}
    return Look(
        task=found.task, backend=found.backend, counted=counted, most=limits.seeds, level=level,
        seeds={label: len(found.runs_of(label)) for label in standings},
        words={label: one.word for label, one in standings.items()}, best=compared.best, margin=compared.margin,
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip


def _counted(group: Group, earlier: Sequence[Look]) -> int | None:
    """Seeds that every method which is still open has finished. None: nothing can be compared."""
    if not group.metrics or group.metrics[0] not in group.comparisons:
        return None
    compared = [label for label, one in group.comparisons[group.metrics[0]].standings.items() if one is not None]
    open_ones = [label for label in compared if not earlier or earlier[-1].words.get(label, "undecided") == "undecided"]
    return min((len(group.runs_of(label)) for label in open_ones), default=None)


def _wanted(plan: Plan, store: Store, limits: Limits) -> list[Cell]:
    """Methods that get a further seed: the undecided ones and the best mean, and what they are made of."""
    last = {(look.task, look.backend): look for look in store.read_looks().looks}
    needs = {method.label: method.method.needs for method in plan.methods}
    found: dict[Cell, None] = {}
    for (task, backend), look in last.items():
        open_ones = [label for label, word in look.words.items() if word == "undecided"]
        if not open_ones or look.counted >= limits.seeds or look.margin is None:
            continue
        for label in (*open_ones, look.best or open_ones[0]):
            for each in (label, *needs[label]):
                found[task, backend, each] = None
    return list(found)


def _cells(plan: Plan) -> list[Cell]:
    return [
        (task.name, backend, method.label)
        for backend in plan.study.backends for task in plan.tasks for method in plan.methods
        if method.label != BASE
    ]  # fmt: skip


def _next_seeds(plan: Plan, store: Store, cell: Cell, number: int) -> tuple[int, ...]:
    """Those after the highest of its task, so that a method made of runs and these runs get the same."""
    further = [one.seeds for one in store.read_looks().further if (one.task, one.backend) == cell[:2]]
    known = [*plan.study.seeds, *(seed for seeds in further for seed in seeds)]
    return tuple(range(max(known) + 1, max(known) + 1 + number))


def _add(store: Store, plan: Plan, seeds: dict[Cell, tuple[int, ...]]) -> None:
    looks = store.read_looks()
    further = {(one.task, one.backend, one.method): one.seeds for one in looks.further}
    for cell, more in seeds.items():
        further[cell] = (*further.get(cell, ()), *more)
    kept = tuple(
        Further(task=task, backend=backend, method=method, seeds=each)
        for (task, backend, method), each in further.items()
    )
    store.write_looks(Looks(looks=looks.looks, further=kept))
