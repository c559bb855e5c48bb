"""Looks on while jobs of a cluster execute a study: what the runs write of themselves, shown as if they ran here."""

from __future__ import annotations

import json
import time
from typing import Any

from tunelab.config.read import read_study
from tunelab.launch.run import Outcome, has_result, write_study_report
from tunelab.launch.tracking.beside import mirrored
from tunelab.launch.view import View
from tunelab.ownership import own
from tunelab.slurm.ledger import Ledger
from tunelab.slurm.queue import Unreachable
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.runs import StudyRun, study_runs_on_disk
from tunelab.study.store import RunFolder, Store

SECONDS = 2.0


def follow(submitted: Outcome, view: View) -> Outcome:
    """Until no job of the study is in the queue: its outcome then. At Ctrl-C, which ends the looking alone, as it was.
    The study's folder is not held meanwhile: the jobs that continue it do.

    Raises:
        RunBusy: another process has taken the study up since.
    """
    store = Store(submitted.folder)
    plan = make_plan(read_study(store.study_file))
    ledger, told = Ledger(store.folder), dict[str, Any]()
    view.told("Looking on; Ctrl-C ends that alone, the jobs go on.")
    try:
        with mirrored(plan.study, store.folder, lambda text: view.told(text)):
            while True:
                in_queue = _in_queue(ledger, view, told)
                runs = study_runs_on_disk(plan, store, settled=lambda run_id: store.run(run_id).settled)
                view.planned(runs, store)
                for each in runs:
                    _tell(each, store, view, told)
                if not in_queue:
                    break
                time.sleep(SECONDS)
    except KeyboardInterrupt:
        return submitted
    with own(store.folder):
        comparison = write_study_report(plan, store)
    failed = sum(1 for each in runs if not has_result(each, store))
    return submitted._replace(comparison=comparison, num_failed=failed, jobs=None)


def _in_queue(ledger: Ledger, view: View, told: dict[str, Any]) -> bool:
    try:
        found = bool(ledger.live())
    except Unreachable as error:  # that is not the jobs' end
        if told.get("") != str(error):
            view.told(str(error))
        told[""] = str(error)
        return True
    told.pop("", None)
    return found


def _tell(each: StudyRun, store: Store, view: View, told: dict[str, Any]) -> None:
    if each.run is None:
        return
    event = _event(store.run(each.run.id))
    if event is not None and told.get(each.run.id) != event:
        told[each.run.id] = event
        view.event(each.run, event)


def _event(folder: RunFolder) -> dict[str, Any] | None:
    """The last thing that is known of a run that has not finished."""
    if folder.finished:
        return None
    if folder.failed:
        facts = json.loads((folder.path / "failure.json").read_text(encoding="utf-8"))
        step = {"diverged_at": facts["diverged"]["step"]} if "diverged" in facts else {}
        return {"event": "failed", "error": facts["error"], **step}
    held = folder.held()
    return held.facts if held is not None and held.alive and "event" in held.facts else None
