"""`tunelab run --until decided`: seeds are added until every method is as good as the best or worse, or a limit is
reached. Every look at the data is paid for (significance/looks.py) and written down; a killed study goes on."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from tunelab.entries import Further, Look, Looks
from tunelab.errors import ConfigError
from tunelab.launch.run import Outcome, run_study, runs_to_report, write_study_report
from tunelab.launch.view import View
from tunelab.report.frame import Comparison, Group, build_comparison
from tunelab.significance.beside_best import Comparison as Compared
from tunelab.significance.looks import Taken, next_level
from tunelab.slurm.ledger import Ledger
from tunelab.study.executing.attempt import SUBMISSION
from tunelab.study.planning.planned import Plan
from tunelab.study.store import Store

FEWEST = 3
"""Seeds at the first look: fewer hardly know how they scatter, and hide a method that sometimes fails."""


class Limits(NamedTuple):
    """When to stop without a decision."""

    seeds: int = 10
    """Of a method, at most: here the whole level is spent."""
    hours: float | None = None
    """No seed is added after so many hours of this call."""

    @property
    def arguments(self) -> list[str]:
        """As the command line has them."""
        hours = [] if self.hours is None else ["--hours", f"{self.hours:g}"]
        return ["--until", "decided", "--max-seeds", str(self.seeds), *hours]


Cell = tuple[str, str, str]
"""Task, back end, label of the method."""


def check_limits(limits: Limits, plan: Plan) -> None:
    """
    Raises:
        ConfigError: the limit is below the study's own seeds, or below the fewest that are looked at.
    """
    own = len(plan.study.seeds)
    if limits.seeds < max(own, FEWEST):
        fewest = f"the study's own {own} seeds" if own > FEWEST else f"{FEWEST}, the fewest that are looked at"
        raise ConfigError(f"--max-seeds {limits.seeds} is below {fewest}")


def run_until_decided(
    plan: Plan, *, out: Path, cluster: str | None, view: View, limits: Limits, wait: bool = False
) -> Outcome:
    """As `run_study`, and again with further seeds. On a cluster a job that waits for each wave's runs does
    the same then; hours count from submission.
    """
    store = Store(out)
    started = Ledger(out).started(os.environ.get(SUBMISSION)) or time.time()
    missing = {cell: FEWEST - len(plan.study.seeds) - len(store.read_looks().seeds_of(*cell)) for cell in _cells(plan)}
    _add(store, plan, {cell: number for cell, number in missing.items() if number > 0})
    first = True
    while True:
        outcome = run_study(plan, out=out, cluster=cluster, view=view, arguments=limits.arguments, first=first)
        first = False
        if outcome.jobs is not None:
            return outcome
        if outcome.num_failed:
            view.told(f"{outcome.num_failed} runs failed: nothing is decided before they have finished.")
            return outcome
        made = _look(plan, store, limits, outcome.comparison)
        for each in made:
            view.told(told(each))
        if made:
            outcome = outcome._replace(comparison=write_study_report(plan, store))
        wanted = _wanted(plan, outcome.comparison, limits, view)
        if not wanted:
            return outcome
        if limits.hours is not None and time.time() - started >= 3600 * limits.hours:
            view.told(f"{limits.hours:g} hours are over. The same command goes on.")
            return outcome
        _add(store, plan, wanted)


def told(look: Look) -> str:
    """'restaurants at 3 seeds: full, lora undecided (level 2.1 %)'."""
    words: dict[str, list[str]] = {}
    for method, word in look.words.items():
        words.setdefault(word, []).append(method)
    said = "; ".join(f"{', '.join(methods)} {word}" for word, methods in words.items())
    return f"{look.task} at {look.counted} seeds: {said} (level {100 * look.level:.2g} %)"


class _State(NamedTuple):
    """One task on one back end."""

    group: Group
    open_ones: dict[str, int]
    """Seeds of the methods that are not decided; of one that no look has seen too."""
    compared: Compared

    @classmethod
    def of(cls, group: Group, plan: Plan) -> _State | None:
        """None: nothing can be compared, or it is no longer in the study."""
        labels = [label for task, backend, label in _cells(plan) if (task, backend) == (group.task, group.backend)]
        if not group.metrics or group.metrics[0] not in group.comparisons:
            return None
        compared = group.comparisons[group.metrics[0]]
        known = {label: one for label in labels if (one := compared.standings.get(label)) is not None}
        open_ones = {label: len(group.runs_of(label)) for label, one in known.items() if one.word == "undecided"}
        return cls(group, open_ones, compared) if known else None

    @property
    def taken(self) -> list[Taken]:
        return [Taken(look.counted, look.level) for look in self.group.looks]


def _states(plan: Plan, comparison: Comparison) -> list[_State]:
    found = (_State.of(group, plan) for group in comparison.groups)
    return [state for state in found if state is not None]


def _look(plan: Plan, store: Store, limits: Limits, comparison: Comparison) -> list[Look]:
    """One a task and back end, where all that are undecided have more seeds than at the last look."""
    looks, made = store.read_looks(), []
    metrics = {name: metric for task in plan.tasks for name, metric in task.metrics.items()}
    for state in _states(plan, comparison):
        counted = min(state.open_ones.values(), default=None)
        if not state.taken:
            counted = min(len(state.group.runs_of(label)) for label, one in state.compared.standings.items() if one)
        if counted is None or (state.taken and state.taken[-1].seeds >= counted):
            continue
        level = next_level(state.taken, counted, limits.seeds)
        again = build_comparison([runs_to_report(plan, store)._replace(level=level)], metrics=metrics)
        at_level = _states(plan, again)
        made.append(
            _taken(next(each for each in at_level if each.group.key == state.group.key), level, counted, limits)
        )
    if made:
        store.write_looks(looks.model_copy(update={"looks": (*looks.looks, *made)}))
    return made


def _taken(state: _State, level: float, counted: int, limits: Limits) -> Look:
    group, compared = state.group, state.compared
    runs = {row.method: tuple(run.entry.id for run in group.runs_of(row.method)) for row in group.rows}
    return Look(
        task=group.task, backend=group.backend, metric=group.metrics[0], rule=group.deciding.rule,
        runs={method: ids for method, ids in runs.items() if ids},
        counted=counted, most=limits.seeds, level=level,
        words={label: one.word for label, one in compared.standings.items() if one is not None},
        beaten_base=tuple(label for label, beats in compared.beats_base.items() if beats),
        best=compared.best, margin=compared.margin, when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip


def _wanted(plan: Plan, comparison: Comparison, limits: Limits, view: View) -> dict[Cell, int]:
    """How many seeds are added to which methods: to those that are undecided and to the best mean, and to what they
    are made of. First all that are undecided get as many as the one that has most."""
    needs = {method.label: method.method.needs for method in plan.methods}
    found: dict[Cell, int] = {}
    for state in _states(plan, comparison):
        if not state.open_ones:
            continue
        task, backend = state.group.task, state.group.backend
        if state.compared.margin is None:
            view.told(f"{task}: no seeds are added, since without a gain over the base there is no margin.")
            continue
        most, fewest = max(state.open_ones.values()), min(state.open_ones.values())
        if fewest < most:
            wanted = {label: most - seeds for label, seeds in state.open_ones.items() if seeds < most}
        elif most >= limits.seeds:
            view.told(f"{task}: {', '.join(state.open_ones)} stay undecided at {most} seeds, the limit.")
            continue
        elif next_level(state.taken, most + 1, limits.seeds) <= 0:
            view.told(f"{task}: no seeds are added, since earlier looks have spent the whole level.")
            continue
        else:
            best = state.compared.best or next(iter(state.open_ones))
            wanted = dict.fromkeys((*state.open_ones, best), 1)
        for label, number in wanted.items():
            for each in (label, *needs[label]):
                found[task, backend, each] = max(found.get((task, backend, each), 0), number)
    return found


def _cells(plan: Plan) -> list[Cell]:
    return [
        (task.name, backend, method.label)
        for backend in plan.study.backends for task in plan.tasks for method in plan.methods
    ]  # fmt: skip


def _add(store: Store, plan: Plan, numbers: dict[Cell, int]) -> None:
    """Further seeds: the first that the method has not of those that its task has, then new ones, so that a method made
    of runs and these runs get the same."""
    looks = store.read_looks()
    further = {(one.task, one.backend, one.method): one.seeds for one in looks.further}
    for (task, backend, label), number in numbers.items():
        everywhere = {seed for cell, seeds in further.items() if cell[:2] == (task, backend) for seed in seeds}
        own = {*plan.study.seeds, *further.get((task, backend, label), ())}
        above = max(own | everywhere) + 1
        more = [*sorted(everywhere - own), *range(above, above + number)][:number]
        further[task, backend, label] = (*further.get((task, backend, label), ()), *more)
    for method in plan.methods:
        for parent in method.method.needs:
            for (task, backend, label), seeds in list(further.items()):
                if label == method.label:
                    has = {*plan.study.seeds, *further.get((task, backend, parent), ())}
                    lacking = tuple(seed for seed in seeds if seed not in has)
                    further[task, backend, parent] = (*further.get((task, backend, parent), ()), *lacking)
    kept = tuple(
        Further(task=task, backend=backend, method=method, seeds=each)
        for (task, backend, method), each in further.items()
    )
    if kept != looks.further:
        store.write_looks(Looks(looks=looks.looks, further=kept))
