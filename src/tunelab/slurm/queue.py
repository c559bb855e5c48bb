"""What SLURM is asked and told, by its own commands. Its silence is never taken for a job's end."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.errors import ConfigError, RunError

OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
"""States of a job that will not run again by itself."""
SECONDS = 60
"""For a command's answer."""


class Unreachable(RunError):
    """The controller does not answer: what becomes of jobs is unknown."""


class Job(NamedTuple):
    """A job, or one task of an array, as the queue shows it."""

    id: str
    """'12' or '12_3'."""
    name: str
    state: str
    """In SLURM's words: PENDING, RUNNING, COMPLETED."""
    reason: str
    """Why it waits, or where it runs."""

    @property
    def over(self) -> bool:
        return self.state.split()[0] in OVER

    @property
    def array(self) -> str:
        """The id that was given at submission."""
        return self.id.partition("_")[0]


def is_here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("squeue") is not None


def require() -> None:
    """
    Raises:
        ConfigError: no SLURM here.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "cluster: slurm: there is no sbatch here; start it on a login node of the cluster (some want `module load "
            "slurm`), or use --cluster local"
        )


def submit(script: Path) -> str:
    """The job's id.

    Raises:
        ConfigError: SLURM refuses it, in its own words.
        Unreachable: the controller does not answer.
    """
    answer = _call("sbatch", "--parsable", str(script))
    if answer.returncode:
        raise ConfigError(f"launch.slurm: SLURM refuses {script}: {_words(answer)}")
    return answer.stdout.strip().split(";")[0]


def jobs(ids: Collection[str], *, users: Collection[str] = ()) -> dict[str, Job]:
    """Those of these jobs that the queue knows, each task of an array by itself; what ended some minutes ago is
    forgotten by SLURM.

    Args:
        ids: as at submission; tasks of an array are found by its id.
        users: who may have submitted them, beside this process's user.

    Raises:
        Unreachable: the controller does not answer.
    """
    names = ",".join({getpass.getuser(), *users})
    answer = _call("squeue", "--noheader", "--array", "--states=all", f"--user={names}", "--format=%i|%j|%T|%R")
    if answer.returncode:
        raise Unreachable(f"SLURM does not answer, so it is unknown what its jobs do: {_words(answer)}")
    lines = (line.strip().split("|", 3) for line in answer.stdout.splitlines() if line.count("|") >= 3)
    found = [Job(*line) for line in lines]
    return {job.id: job for job in found if job.array in ids}


def cancel(ids: Sequence[str]) -> None:
    """
    Raises:
        Unreachable: the controller does not answer.
    """
    if ids:
        answer = _call("scancel", *ids)
        if answer.returncode:
            raise Unreachable(f"scancel {' '.join(ids)}: {_words(answer)}")


def requeue(job: str) -> str | None:
    """Back into the queue; what SLURM says where it will not. SLURM ends a job that it requeues, and with it the
    command that asked for it: one that a signal ended has been heard."""
    try:
        answer = _call("scontrol", "requeue", job)
    except Unreachable as error:
        return str(error)
    return _words(answer) if answer.returncode > 0 else None


def nodes_of(listed: str) -> list[str]:
    """Names of the nodes that SLURM lists in short ('n[1-3]')."""
    return _call("scontrol", "show", "hostnames", listed).stdout.split()


def address_of(node: str) -> str:
    """By which other nodes reach it."""
    found = re.search(r"\bNodeAddr=(\S+)", _call("scontrol", "show", "node", node).stdout)
    return found[1] if found else node


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for tunelab: an interrupted sbatch may have submitted, and not said so
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]} has not answered for {SECONDS} s, so it is unknown what jobs do") from None
    except FileNotFoundError:
        raise Unreachable(f"there is no {command[0]} on this machine, so it is unknown what SLURM's jobs do") from None


def _words(answer: subprocess.CompletedProcess[str]) -> str:
    """One line, the command's name left out."""
    text = " ".join((answer.stderr or answer.stdout).split())
    return text.removeprefix("sbatch: ").removeprefix("error: ") or f"status {answer.returncode}"
