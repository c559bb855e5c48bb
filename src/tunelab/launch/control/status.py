"""`tunelab status`: every run of a study as it stands, from its records and from SLURM's queue. It needs neither the
model nor the data on this machine."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.files import last_lines
from tunelab.launch.control.found import Found, find_results
from tunelab.launch.control.standing import STATES, Queue, Standing, standing
from tunelab.ownership import Held, holder_of
from tunelab.report.tables import visible
from tunelab.slurm import queue
from tunelab.slurm.ledger import Ledger
from tunelab.study.planning.runs import study_runs_on_disk
from tunelab.study.store import Store

TAIL_LINES = 5
"""Of the log of the job that should have continued a study."""


class StudyStatus(NamedTuple):
    study: str
    folder: Path
    runs: tuple[Standing, ...]
    lines: tuple[str, ...]
    """Who executes it, and what to know or to do."""
    queue: Queue
    holder: Held | None

    @property
    def counts(self) -> dict[str, int]:
        """Of the states that there are."""
        found = Counter(each.state for each in self.runs)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def summary(self) -> str:
        """'18 of 24 finished, 3 running, 2 waiting, 1 failed'."""
        counts = self.counts
        others = "".join(f", {number} {state}" for state, number in counts.items() if state != "finished")
        return f"{self.study}: {counts.get('finished', 0)} of {len(self.runs)} finished{others}"

    def as_json(self) -> dict[str, Any]:
        held = self.holder
        holder = None if held is None else {
            "host": held.holder.host, "pid": held.holder.pid, "job": held.holder.job, "alive": held.alive,
            "silent_seconds": round(held.silent_seconds, 1),
        }  # fmt: skip
        jobs = [{"job": job.id, "name": job.name, "state": job.state, "reason": job.reason} for job in self.queue.live]
        runs = [
            {
                "run": each.entry.id or None, "method": each.entry.method, "task": each.entry.task,
                "seed": each.entry.seed, "backend": each.entry.backend, "learning_rate": each.entry.learning_rate,
                "setting": dict(each.entry.setting), "state": each.state, "text": each.text, **each.facts,
            }
            for each in self.runs
        ]  # fmt: skip
        return {
            "study": self.study, "folder": str(self.folder), "num_runs": len(self.runs), "counts": self.counts,
            "holder": holder, "jobs": jobs, "slurm_unknown": self.queue.unknown or None, "lines": list(self.lines),
            "runs": runs,
        }  # fmt: skip


def study_status(what: str, *, out: Path | None = None) -> StudyStatus:
    """
    Args:
        what: a study, or a results folder.
        out: the results folder of a study where it is not results/<study name>.

    Raises:
        ConfigError: nothing was started there, or its study no longer plans.
    """
    found = find_results(what, out)
    store, ledger = found.store, Ledger(found.store.folder)
    runs = study_runs_on_disk(found.plan, store, settled=lambda run_id: store.run(run_id).settled)
    is_over = all(each.run is not None and store.run(each.run.id).finished for each in runs)
    known, holder = Queue() if is_over else asked(ledger), holder_of(store.folder)
    planners = _planners(known)
    watched = (holder is not None and holder.alive) or bool(planners)
    stand = tuple(standing(each, store, known, watched=watched) for each in runs)
    lines = _lines(found, stand, known, holder, planners)
    return StudyStatus(found.plan.study.name, store.folder, stand, tuple(lines), known, holder)


def asked(ledger: Ledger) -> Queue:
    """What SLURM says of the jobs that were submitted for a study."""
    submitted = ledger.read()
    if not submitted:
        return Queue()
    try:
        jobs = ledger.known()
    except queue.Unreachable as error:
        return Queue(submitted, {}, visible(str(error)))
    if not jobs and ledger.owner not in (None, getpass.getuser()):
        return Queue(submitted, {}, f"SLURM shows no job of {ledger.owner} here: over, or hidden from other users")
    return Queue(submitted, jobs)


def _planners(known: Queue) -> list[queue.Job]:
    """Jobs in the queue that continue the study."""
    ids = {each.job for each in known.submitted if each.kind == "next"}
    return [job for job in known.live if job.array in ids]


def _lines(
    found: Found, stand: Sequence[Standing], known: Queue, holder: Held | None, planners: Sequence[queue.Job]
) -> list[str]:
    lines = [f"{known.unknown}. What follows is what the records say."] if known.unknown else []
    alive = holder is not None and holder.alive
    if holder is not None and holder.alive:
        lines.append(f"Executed by {holder.holder.name}, last sign of life {holder.silent_seconds:.0f} s ago.")
    lines += [f"Job {job.id} continues the study: {job.state} {job.reason}." for job in planners]
    if alive or planners or known.unknown:
        return lines
    unfinished = [each for each in stand if each.state not in ("finished", "diverged", "failed")]
    if not unfinished:
        report = found.store.folder / "report.html"
        lines += [f"`{found.goes_on}` tries again what failed."] if any(one.state == "failed" for one in stand) else []
        return [*lines, f"Report: {report}" if report.exists() else f"`{found.goes_on}` writes the report."]
    if known.live:
        ids = ", ".join(dict.fromkeys(job.array for job in known.live))
        return [*lines, f"No job continues the study after job {ids}: when it is over, `{found.goes_on}` does."]
    return [*lines, *_nobody(found.store, known, holder, len(unfinished)), f"`{found.goes_on}` goes on."]


def _nobody(store: Store, known: Queue, holder: Held | None, num_unfinished: int) -> list[str]:
    """Nothing executes it, and it is not finished."""
    runs = f"{num_unfinished} runs are unfinished" if num_unfinished > 1 else "1 run is unfinished"
    lines = [f"Nobody executes the study, and {runs}."]
    if holder is not None:
        lines.append(f"{holder.holder.name} did, {holder.silent_seconds:.0f} s ago, and has ended without a word.")
    last = [each for each in known.submitted if each.kind == "next"][-1:]
    for each in last:
        lines[0] = f"No job of the study is in the queue, and {runs}."
        log = each.log(store.folder / "slurm")
        state = f" ({known.jobs[each.job].state})" if each.job in known.jobs else ""
        said = last_lines(log, TAIL_LINES)
        lines.append(f"Job {each.job}, which should have continued it{state}, " + _said(log, said))
        lines += [f"  {line}" for line in said]
    return lines


def _said(log: Path, said: Sequence[str]) -> str:
    return f"ends {log} with:" if said else f"has not begun, or said nothing ({log})."
