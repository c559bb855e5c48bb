"""How one run of a study stands, by its records and by what SLURM says of its job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from tunelab.entries import Attempt, RunEntry
from tunelab.files import last_lines
from tunelab.ownership import Held, is_here
from tunelab.report.numbers import rate
from tunelab.slurm.ledger import Submitted
from tunelab.slurm.queue import Job
from tunelab.study.planning.needs import unfinished_parents
from tunelab.study.planning.runs import StudyRun
from tunelab.study.store import RunFolder, Store
from tunelab.training.state import Checkpoints

State = Literal["finished", "diverged", "running", "silent", "waiting", "stopped", "failed", "unknown"]
"""diverged: a candidate of a search, whose outcome that is. silent: executed by a process that gives no sign of life.
stopped: begun, and nobody executes it. unknown: SLURM does not say what becomes of its job."""
STATES: tuple[State, ...] = get_args(State)
IDLE_SECONDS = 30.0
"""Without anything new it is said since when: a process that hangs gives signs of life too."""
SLOW_STEPS = 5
"""Nor is a step late before it has taken as long as so many."""


class Standing(NamedTuple):
    entry: RunEntry
    state: State
    text: str
    """What more there is to say, for a reader."""
    facts: dict[str, Any] = {}
    """The same, for a program."""

    @property
    def name(self) -> str:
        """'lora, restaurants, seed 3, rate 1e-3'."""
        entry = self.entry
        searched = f", rate {rate(entry.learning_rate)}" if entry.num_tried > 1 and entry.learning_rate else ""
        setting = "".join(f", {field} {value}" for field, value in entry.setting)
        place = "" if entry.backend == "torch" else f", {entry.backend}"
        return f"{entry.method}, {entry.task}{place}, seed {entry.seed}{searched}{setting}"


class Queue(NamedTuple):
    """What SLURM knows of a study."""

    submitted: Sequence[Submitted] = ()
    jobs: Mapping[str, Job] = {}
    """Over ones too, as long as SLURM remembers them."""
    unknown: str = ""
    """Why it is unknown what the jobs do; empty: it is known."""

    def of(self, run_id: str) -> tuple[str, Job | None] | None:
        """The job that was submitted last for a run, and what SLURM knows of it; None: none was."""
        for wave in reversed(self.submitted):
            if run_id in wave.runs:
                job = f"{wave.job}_{wave.runs.index(run_id)}"
                return job, self.jobs.get(job)
        return None

    @property
    def live(self) -> list[Job]:
        return [job for job in self.jobs.values() if not job.over]


def standing(each: StudyRun, store: Store, queue: Queue, *, watched: bool) -> Standing:
    """
    Args:
        watched: whether somebody executes the study: a process, or a job that continues it.
    """
    entry = each.entry
    if each.run is None:
        return Standing(entry, "waiting", _waits_for_others(each))
    folder = store.run(entry.id)
    held = folder.held()
    if not (held is not None and held.alive) and (damage := folder.damage()):
        return Standing(entry, "failed", f"{damage}; `tunelab run` makes it again", {"reason": damage})
    if folder.finished:
        return Standing(entry, "finished", "")
    divergence = folder.divergence()
    if divergence is not None and each.is_outcome:
        return Standing(entry, "diverged", f"at step {divergence.step}: an outcome of the search")
    submitted = queue.of(entry.id)
    job_id, job = submitted or (None, None)
    if held is not None and held.alive:
        return _running(entry, folder, held)
    error = folder.failure()
    if error is not None:
        return _failed(entry, folder, error)
    if job is not None and not job.over:
        return _with_job(entry, folder, job, held)
    if job_id is not None and queue.unknown:
        begun = ("by its checkpoint at " + _goes_on(folder)) if _goes_on(folder) else "not begun, or no checkpoint yet"
        return Standing(entry, "unknown", f"job {job_id}, {begun}", {"job": job_id, **_place(folder)})
    if held is not None and not is_here(held.holder) and job_id is None:
        return _silent(entry, folder, held)
    if folder.attempts():
        return _stopped(entry, folder, f"job {job.id} {job.state}; " if job is not None else "")
    parents = unfinished_parents(each.run, store)
    if parents:
        return Standing(entry, "waiting", f"for {', '.join(parents)}, which it is made of")
    return Standing(entry, "waiting", "for its turn" if watched else "not started")


def _waits_for_others(each: StudyRun) -> str:
    if each.entry.num_tried > 1:
        return "for the search on the first seed"
    return "for the runs that it is made of"


# ------------------------------------------------------------------ executed by somebody


def _running(entry: RunEntry, folder: RunFolder, held: Held) -> Standing:
    facts = _progress(folder, held) | _where(held)
    idle, step_seconds = held.idle_seconds, held.facts.get("seconds") or 0.0
    late = idle > max(IDLE_SECONDS, SLOW_STEPS * step_seconds)
    facts["log"] = str(_log(folder, folder.attempts()))
    words = [*_progress_words(facts), *_where_words(facts)]
    if late and facts.get("phase") == "train" and "step" in facts:
        words.append(f"no new step for {_seconds(idle)} (one takes {step_seconds:.2g} s): does it hang?")
    elif late:
        words.append(f"nothing new for {_seconds(idle)}")
    else:
        words.append(f"{_seconds(held.silent_seconds)} ago")
    return Standing(entry, "running", ", ".join(words), facts)


def _silent(entry: RunEntry, folder: RunFolder, held: Held) -> Standing:
    facts = _progress(folder, held) | _where(held)
    facts["log"] = str(_log(folder, folder.attempts()))
    said = f"silent for {_seconds(held.silent_seconds)}, probably dead"
    return Standing(entry, "silent", ", ".join([said, *_progress_words(facts), *_where_words(facts)]), facts)


def _progress(folder: RunFolder, held: Held) -> dict[str, Any]:
    """How far it is: by its heartbeat, or by its last written step where that is further."""
    told = held.facts
    names = {"phase": "phase", "step": "step", "num_steps": "num_steps", "ema_loss": "loss"}
    facts = {mine: told[name] for name, mine in names.items() if name in told}
    facts.setdefault("phase", "starting")
    if "tokens_per_second" in told:
        facts["tokens_per_second"] = told["tokens_per_second"]
    last = folder.last_step()
    if last is not None and last.step > facts.get("step", 0):
        more = {"step": last.step, "loss": last.ema_loss, "tokens_per_second": last.tokens_per_second}
        facts |= more | {"phase": "train"}
    if told.get("event") == "generate":
        facts |= {"texts": told["done"], "num_texts": told["total"]}
    return facts


def _progress_words(facts: Mapping[str, Any]) -> list[str]:
    words = [str(facts["phase"])]
    if "num_texts" in facts:
        words.append(f"text {facts['texts']}/{facts['num_texts']}")
    elif "step" in facts:
        words.append(f"step {facts['step']}" + (f"/{facts['num_steps']}" if "num_steps" in facts else ""))
        words += [f"loss {facts['loss']:.3f}"] if "loss" in facts else []
    if "tokens_per_second" in facts and (facts["phase"] in ("train", "validate", "save") or "num_texts" in facts):
        words.append(f"{facts['tokens_per_second']:,.0f} tokens/s")
    return words


def _where(held: Held) -> dict[str, Any]:
    holder = held.holder
    return {
        "host": holder.host, "pid": holder.pid, "job": holder.job, "restart": holder.restart,
        "silent_seconds": round(held.silent_seconds, 1), "idle_seconds": round(held.idle_seconds, 1),
    }  # fmt: skip


def _where_words(facts: Mapping[str, Any]) -> list[str]:
    job = [] if facts["job"] is None else [f"job {facts['job']}"]
    restart = [f"restart {facts['restart']}"] if facts["restart"] else []
    return [str(facts["host"]), *job, *restart]


# ------------------------------------------------------------------ executed by nobody


def _with_job(entry: RunEntry, folder: RunFolder, job: Job, held: Held | None) -> Standing:
    """Its job is in the queue, and no living process holds it."""
    if not job.state.startswith("PENDING"):
        if held is not None and held.holder.job == job.id and not is_here(held.holder):
            return _silent(entry, folder, held)
        return Standing(entry, "running", f"starting, job {job.id} {job.state} on {job.reason}", {"job": job.id})
    attempts = folder.attempts()
    requeued = bool(attempts) and attempts[-1].job == job.id
    said = f"{'requeued' if requeued else 'in the queue'}, job {job.id} {job.reason}"
    facts = {"job": job.id, "reason": job.reason, **_place(folder)}
    return Standing(entry, "waiting", said + _goes_on(folder, prefix=", goes on from "), facts)


def _stopped(entry: RunEntry, folder: RunFolder, why: str) -> Standing:
    attempts = folder.attempts()
    log = _log(folder, attempts)
    killed = "" if attempts[-1].how else f"its process ended without a word, {log}{_end(log)}; "
    text = f"{why}{killed}goes on from {_goes_on(folder) or 'its beginning'}"
    return Standing(entry, "stopped", text, {**_place(folder), "log": str(log), "job": attempts[-1].job})


def _failed(entry: RunEntry, folder: RunFolder, error: str) -> Standing:
    attempts = folder.attempts()
    log = _log(folder, attempts)
    facts = {"reason": error, "log": str(log), "job": attempts[-1].job if attempts else None}
    return Standing(entry, "failed", f"{error}; log: {log}{_end(log, unless_in=error)}", facts)


def _log(folder: RunFolder, attempts: Sequence[Attempt]) -> Path:
    """Its own, or its last job's where that one is empty."""
    is_empty = not folder.log.exists() or not folder.log.stat().st_size
    return folder.study_folder / attempts[-1].log if is_empty and attempts and attempts[-1].log else folder.log


def _end(log: Path, *, unless_in: str = "") -> str:
    lines = last_lines(log, 1)
    return f" ends: {lines[0]}" if lines and lines[0] not in unless_in else ""


def _place(folder: RunFolder) -> dict[str, Any]:
    latest, texts = Checkpoints(folder.checkpoint, seconds=0).latest(), folder.progress[1]
    return {"goes_on_from_step": 0 if latest is None else latest[0].step, "goes_on_from_text": texts}


def _goes_on(folder: RunFolder, *, prefix: str = "") -> str:
    """What an execution would not do again; empty: nothing."""
    place = _place(folder)
    words = [f"step {place['goes_on_from_step']}"] if place["goes_on_from_step"] else []
    words += [f"text {place['goes_on_from_text']}"] if place["goes_on_from_text"] else []
    return prefix + ", ".join(words) if words else ""


def _seconds(seconds: float) -> str:
    """'7 s', '12 min', '3.5 h'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
