"""Looks on while jobs of a cluster execute a study: what the runs write of themselves, shown as if they ran here."""

from __future__ import annotations

import json
import time
from typing import Any

from tunelab.launch.view import View
from tunelab.launch.waves import Submission
from tunelab.slurm.queue import Unreachable
from tunelab.study.planning.planned import Plan, Revisions
from tunelab.study.planning.runs import StudyRun, study_runs
from tunelab.study.store import RunFolder, Store

SECONDS = 2.0


def follow(plan: Plan, revisions: Revisions, store: Store, submission: Submission, view: View) -> bool:
    """Until no job of the study is in the queue; False at Ctrl-C, which ends the looking alone."""
    told: dict[str, Any] = {}
    view.told("Looking on; Ctrl-C ends that alone, the jobs go on.")
    try:
        while True:
            in_queue = _in_queue(submission, view, told)
            runs = study_runs(plan, revisions, store, settled=submission.settled)
            view.planned(runs, store)
            for each in runs:
                _tell(each, store, view, told)
            if not in_queue:
                return True
            time.sleep(SECONDS)
    except KeyboardInterrupt:
        return False


def _in_queue(submission: Submission, view: View, told: dict[str, Any]) -> bool:
    try:
        found = bool(submission.ledger.live())
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
