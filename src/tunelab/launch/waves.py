"""`tunelab run --cluster slurm`: the runs that are ready now are submitted as one job array, and behind it a job that
continues the study in the same way, until nothing is left to run. Nobody need stay logged in."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from tunelab.config.launch import Launch, unplaced
from tunelab.config.run import RunConfig
from tunelab.errors import ConfigError, RunBusy
from tunelab.launch.job import attempts_of, gave_up, tail
from tunelab.ownership import this_process
from tunelab.slurm import queue
from tunelab.slurm.ledger import Kind, Ledger, Submitted
from tunelab.slurm.script import LARGEST_ARRAY, Script, planner_script, wave_script
from tunelab.study.executing.attempt import MOST, SUBMISSION, num_failed
from tunelab.study.planning.planned import Plan, Revisions
from tunelab.study.planning.runs import study_runs
from tunelab.study.store import RunFolder, Store


def launch_of(plan: Plan, cluster: str | None) -> Launch:
    """The study's section with the command's cluster.

    Raises:
        ConfigError: several nodes without a cluster.
    """
    launch = plan.study.launch.model_copy(update={"cluster": cluster} if cluster else {})
    if problems := unplaced(launch):
        raise ConfigError(*(plan.read.problem(key, problem) for key, problem in problems))
    return launch


def patience() -> float:
    """Seconds for which a job that continues a study waits until whoever submitted it has written its report."""
    return 600 if SUBMISSION in os.environ else 0


class Jobs(NamedTuple):
    """What was submitted, for whoever waits or looks."""

    arrays: tuple[str, ...]
    planner: str
    num_runs: int

    def lines(self, out: Path) -> list[str]:
        """For the terminal: ids, and what a user needs next."""
        arrays = ", ".join(self.arrays)
        return [
            f"Submitted {self.num_runs} runs as job {arrays}; job {self.planner} continues the study after them.",
            f"  tunelab status {out}   how far it is (squeue --me: the queue)",
            f"  tunelab cancel {out}   ends its jobs; what is finished stays",
            f"  tunelab report {out}   the report of what is finished",
        ]


def refuse_live(store: Store, *, besides: str | None = None) -> None:
    """
    Args:
        besides: a job that does not count: the one that asks.

    Raises:
        RunBusy: jobs of the study are in the queue.
        Unreachable: SLURM does not answer, so it is unknown whether they are.
    """
    live = Ledger(store.folder).live(besides=besides)
    if live:
        ids = ", ".join(dict.fromkeys(job.array for job in live))
        way = f"`tunelab status {store.folder}` tells how far it is, `tunelab cancel {store.folder}` ends it"
        raise RunBusy(f"jobs of this study are in the queue ({ids}), and continue it by themselves: {way}")


class Submission:
    """One call of `tunelab run` with all that follows by itself."""

    def __init__(self, launch: Launch, *, study: str, store: Store, arguments: Sequence[str] = ()) -> None:
        """`arguments`: further ones of the call, which the jobs that continue it are given too.

        Raises:
            ConfigError: no SLURM here.
            RunBusy: jobs of the study are in the queue.
            Unreachable: SLURM does not answer, so it is unknown whether they are.
        """
        queue.require()
        self.launch, self.study, self.store, self._arguments = launch, study, store, arguments
        self.ledger = Ledger(store.folder)
        self.continued = os.environ.get(SUBMISSION)
        self.id = self.continued or uuid.uuid4().hex[:12]
        refuse_live(store, besides=this_process().job)

    def settled(self, run_id: str) -> bool:
        """Whether it gets no other result by this submission."""
        return self.store.run(run_id).settled

    def begin(self, run_ids: Sequence[str]) -> None:
        """Failures before this call are tried again; those of its own waves are counted."""
        if self.continued is None:
            for run_id in run_ids:
                if self.store.run(run_id).divergence() is None:
                    self.store.run(run_id).forget_failure()
            return
        waves = [each for each in self.ledger.read() if each.kind == "wave" and each.submission == self.id]
        if not waves:
            return
        known = self._known(waves)
        for run_id in dict.fromkeys(run_id for wave in waves for run_id in wave.runs):
            folder = self.store.run(run_id)
            if not self.settled(run_id):
                reason = self._given_up(folder, waves, known)
                if reason is not None:
                    folder.write_failure(reason)

    def _known(self, waves: Sequence[Submitted]) -> dict[str, queue.Job]:
        try:
            return queue.jobs({wave.job for wave in waves})
        except queue.Unreachable:
            return {}

    def _given_up(self, folder: RunFolder, waves: Sequence[Submitted], known: dict[str, queue.Job]) -> str | None:
        """Why a run that has ended without a result is not submitted again; None: it is."""
        own = [wave for wave in waves if folder.path.name in wave.runs]
        ids = [f"{wave.job}_{wave.runs.index(folder.path.name)}" for wave in own]
        state = known[ids[-1]].state if ids[-1] in known else ""
        if state.startswith("CANCELLED"):
            return f"its job {ids[-1]} was cancelled; `tunelab run` goes on with it"
        tried = attempts_of(folder, self.id)
        if num_failed(tried) >= MOST:
            return gave_up(folder, tried)
        if len(own) >= MOST:
            said = f", the last one {state}" if state else ""
            return f"its jobs {', '.join(ids)} ended without a result{said}{tail(folder)}"
        return None

    def submit(self, runs: Sequence[RunConfig]) -> Jobs:
        """One wave and what continues after it.

        Raises:
            ConfigError: SLURM refuses, in its own words; nothing of the wave stays in the queue.
        """
        number, made = self.ledger.next_number(), list[str]()
        try:
            for place, own in enumerate(_arrays([run.id for run in runs]), number):
                manifest = self.ledger.write(f"{place:04d}.runs", "".join(f"{name}\n" for name in own))
                script = wave_script(
                    self.launch, study=self.study, folder=self.ledger.folder, manifest=manifest, submission=self.id,
                    count=len(own),
                )  # fmt: skip
                made.append(self._submit(script, f"{place:04d}.sh", "wave", own).job)
            planner = planner_script(
                self.launch, study=self.study, folder=self.ledger.folder, submission=self.id, after=made,
                arguments=[*continue_arguments(self.store.folder), *self._arguments],
            )  # fmt: skip
            after = self._submit(planner, f"{number:04d}-next.sh", "next", ())
        except BaseException:  # Ctrl-C too: a wave that nothing continues
            queue.cancel(made)
            raise
        return Jobs(tuple(made), after.job, len(runs))

    def _submit(self, script: Script, file: str, kind: Kind, runs: tuple[str, ...]) -> Submitted:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return self.ledger.submit(script, file, kind=kind, submission=self.id, when=now, runs=runs)


def _arrays(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Of the size that SLURM takes."""
    return [tuple(ids[first : first + LARGEST_ARRAY]) for first in range(0, len(ids), LARGEST_ARRAY)]


def continue_arguments(out: Path) -> list[str]:
    """The command that continues a study from a compute node."""
    folder = str(out.absolute())
    return ["run", f"{folder}/study.yaml", "--out", folder, "--cluster", "slurm"]


def scripts_text(plan: Plan, *, out: Path, cluster: str | None) -> str:
    """Of a cluster: the scripts of a first wave, each under its file's name; a submission's own names stand in <>."""
    launch = launch_of(plan, cluster)
    if launch.cluster != "slurm":
        return ""
    folder, submission, study = out.absolute() / "slurm", "<submission>", plan.study.name
    known = study_runs(plan, Revisions(), Store(out), settled=lambda run_id: False)
    texts: list[tuple[str, str]] = []
    for number, own in enumerate(_arrays([each.run.id for each in known if each.run and not each.run.parents]), 1):
        manifest = folder / f"{number:04d}.runs"
        wave = wave_script(
            launch, study=study, folder=folder, manifest=manifest, submission=submission, count=len(own)
        )  # fmt: skip
        texts += [(f"{number:04d}.sh", wave.text), (manifest.name, "".join(f"{name}\n" for name in own))]
    after = planner_script(
        launch, study=study, folder=folder, submission=submission, after=["<job>"], arguments=continue_arguments(out)
    )
    texts.append(("0001-next.sh", after.text))
    return "".join(f"\n# {folder / name}\n{text}" for name, text in texts)
