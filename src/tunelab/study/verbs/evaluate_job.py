"""`tunelab evaluate --cluster slurm`: the same evaluation as one job of a cluster, with a run's resources."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from tunelab.errors import ConfigError, RunBusy
from tunelab.ownership import own
from tunelab.slurm import queue
from tunelab.slurm.ledger import Ledger, Submitted
from tunelab.slurm.script import Script, single_script
from tunelab.study.verbs.evaluate import planned_evaluations


class Evaluation(NamedTuple):
    """What is, or would be, submitted."""

    script: Script
    out: Path
    shown_in: tuple[Path, ...]
    """Folders that have a result when it has ended."""


def planned_job(
    model: str, *, tasks: Sequence[str] = (), overrides: Sequence[str] = (), out: Path | None = None
) -> Evaluation:
    """Checked as far as it can be here: what the model is, tasks, settings. Resources are those of `launch.slurm` of
    the run's study, or of the study that a task is named of, changed by `--set launch.slurm.KEY=VALUE`.

    Raises:
        ConfigError, DataError, ModelError: as `evaluate`.
    """
    if out is None:
        raise ConfigError("--cluster slurm: where do the job's script, log and result go? Give --out DIR")
    out = out.absolute()
    plans = planned_evaluations(model, tasks=tasks, overrides=overrides, out=out)
    given = Path(model).expanduser()
    arguments = ["evaluate", str(given.absolute()) if given.is_dir() else model]
    arguments += [word for task in tasks for word in ("--task", task)]
    arguments += [word for override in overrides for word in ("--set", override)]
    arguments += ["--out", str(out)]
    slurm = plans[0].study.launch.slurm
    script = single_script(slurm, name=f"tunelab-{out.name}-evaluate", folder=out / "slurm", arguments=arguments)
    names = [plan.tasks[0].name for plan in plans]
    return Evaluation(script, out, tuple(out / name for name in names) if len(names) > 1 else (out,))


def submit_evaluation(planned: Evaluation) -> Submitted:
    """
    Raises:
        ConfigError: no SLURM here, or it refuses the job, in its own words.
        RunBusy: an evaluation into this folder is in the queue.
        Unreachable: SLURM does not answer.
    """
    queue.require()
    ledger = Ledger(planned.out)
    with own(planned.out):
        live = ledger.live()
        if live:
            ids = ", ".join(job.id for job in live)
            raise RunBusy(f"job {ids} evaluates into {planned.out}: wait for it, or end it (scancel {ids})")
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        file = f"evaluate-{len(ledger.read()) + 1:04d}.sh"
        return ledger.submit(planned.script, file, kind="evaluate", submission="", when=now)


def submitted_text(planned: Evaluation, made: Submitted) -> str:
    """For the terminal: the job's id, its log, and what shows its result."""
    log = made.log(planned.out / "slurm")
    lines = [f"Submitted the evaluation as job {made.job}; its log: {log}"]
    lines += [f"  tunelab show {folder}   the result, when it has ended" for folder in planned.shown_in]
    return "\n".join([*lines, f"  squeue --jobs {made.job}, scancel {made.job}   the job"])
