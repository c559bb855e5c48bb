"""Which runs of a study can be executed next, wherever that is."""

from __future__ import annotations

from collections.abc import Callable

from tunelab.config.run import RunConfig
from tunelab.launch.view import View
from tunelab.study.executing.again import reopen
from tunelab.study.planning.needs import unfinished_parents
from tunelab.study.planning.planned import Plan, Revisions
from tunelab.study.planning.runs import StudyRun, study_runs
from tunelab.study.store import Store


def next_runs(
    plan: Plan, revisions: Revisions, store: Store, *, settled: Callable[[str], bool], view: View
) -> tuple[list[StudyRun], list[RunConfig], set[str]]:
    """All runs as known now; those that are not over and wait for nothing, their run.json written; ids of those that
    can never be made, because what they are made of has failed: they are named as failed.

    Args:
        settled: whether a run id will not get another result now.
    """
    while True:
        runs = study_runs(plan, revisions, store, settled=settled)
        if not any([reopen(store.run(each.run.id), each.run) for each in runs if each.run]):  # all, not the first only
            break
    view.planned(runs, store)
    over = {each.run.id for each in runs if each.run and (each.diverged or settled(each.run.id))}
    known = [each.run for each in runs if each.run and each.run.id not in over]
    ready = [run for run in known if all(parent.id in over for parent in run.parents)]
    orphans = [run for run in ready if unfinished_parents(run, store)]
    for run in orphans:
        _fail(run, store, view)
    waiting = [run for run in ready if run not in orphans]
    for run in waiting:
        store.run(run.id).ensure_run(run)
    return runs, waiting, {run.id for run in orphans}


def _fail(run: RunConfig, store: Store, view: View) -> None:
    """Name as failed a run that is made of others, because one of those has failed."""
    folder = store.run(run.id)
    folder.ensure_run(run)
    failed = unfinished_parents(run, store)
    error = f"{', '.join(failed)} failed, which this run is made of: it is made when `tunelab run` has finished them"
    folder.write_failure(error)
    view.event(run, {"event": "failed", "error": error})
