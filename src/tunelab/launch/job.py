"""One run in a SLURM job: `python -m tunelab.launch.job OUT MANIFEST`, which the wave's script executes.

The run's process is a child. What SLURM sends (USR1 before the time limit, TERM at preemption and scancel) asks it to
write its checkpoint; after USR1 the job requeues itself and goes on there. A child that is killed or breaks is tried
again in the same way, until `MOST` attempts of a submission in a row have brought nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tunelab.config.run import RunConfig
from tunelab.entries import Attempt
from tunelab.launch.executor import ending, worker_environment
from tunelab.launch.ranks.agent import Meeting, worker_command
from tunelab.launch.worker import BROKEN, STOPPED
from tunelab.ownership import this_process
from tunelab.slurm import queue
from tunelab.slurm.script import run_of_task
from tunelab.study.executing.attempt import LOG, MOST, SUBMISSION, num_failed
from tunelab.study.store import RunFolder, Store

FIRST_PORT, NUM_PORTS = 20000, 20000
"""Where the nodes of a run meet: a port of each job's own, as its id says."""
TAIL_LINES = 5
"""Of a log, in the reason why a run failed."""


def main(arguments: list[str]) -> int:
    """Exit status: 0 the run has its result, 75 it goes on later, 1 it failed."""
    out, manifest = Path(arguments[0]), Path(arguments[1])
    folder = Store(out).run(run_of_task(manifest, int(os.environ["SLURM_ARRAY_TASK_ID"])))
    job, submission = this_process().job or "", os.environ.get(SUBMISSION)
    if folder.finished:
        print(f"{folder.path.name} has finished already")
        return 0
    if folder.failed:  # named before this restart
        return 1
    before = attempts_of(folder, submission)
    if num_failed(before) >= MOST:
        folder.write_failure(gave_up(folder, before))
        return 1
    code, came = _execute(folder, f"slurm/{job}.log")
    if folder.finished:
        return 0
    tried = attempts_of(folder, submission)
    began = len(tried) > len(before)
    if began and tried[-1].how == "stopped":
        code = STOPPED  # whatever srun makes of it
    if code == STOPPED and signal.SIGUSR1 not in came:
        print("stopped; where SLURM requeues the job it goes on from its checkpoint")
        return STOPPED
    if code == STOPPED or (began and (code < 0 or code == BROKEN) and num_failed(tried) < MOST):
        return _again(folder, job)
    return _failed(folder, code, tried, broke=began and (code < 0 or code == BROKEN))


def attempts_of(folder: RunFolder, submission: str | None) -> list[Attempt]:
    """Those of one call of `tunelab run`."""
    return [each for each in folder.attempts() if each.submission == submission]


def gave_up(folder: RunFolder, tried: Sequence[Attempt]) -> str:
    """Why a run is not tried again."""
    where = ", ".join(dict.fromkeys(f"job {each.job} on {each.host}" for each in tried[-MOST:]))
    return f"{MOST} attempts in a row ended without a result ({where}){tail(folder)}"


def tail(folder: RunFolder) -> str:
    """The end of its log, and of its last job's, as part of a sentence."""
    logs = [folder.log, *(folder.study_folder / each.log for each in folder.attempts()[-1:] if each.log)]
    found = [(log, log.read_text(encoding="utf-8", errors="replace").split("\n")) for log in logs if log.exists()]
    ends = [(log, [line.strip() for line in lines if line.strip()][-TAIL_LINES:]) for log, lines in found]
    return "".join(f"; {log.name} ends: {' | '.join(lines)}" for log, lines in ends if lines)


def _execute(folder: RunFolder, log: str) -> tuple[int, set[int]]:
    """The child's exit status, and the signals that came meanwhile."""
    came: set[int] = set()
    child: subprocess.Popen[str] | None = None

    def pass_on(number: int, frame: object) -> None:
        came.add(number)
        if child is not None:  # srun takes TERM for its own end, and hands USR1 on to every node
            child.send_signal(signal.SIGUSR1)

    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, pass_on)
    run = folder.to_execute()
    command = _command(run, folder)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=worker_environment(run) | {LOG: log})
    if came:  # between the two lines above
        pass_on(min(came), None)
    assert child.stdout is not None
    for line in child.stdout:
        event = json.loads(line)
        if event["event"] not in (
            "step",
            "generate",
            "phase",
            "validation",
            "stage",
        ):  # they stand in the run's records
            print(line, end="", flush=True)
    code = child.wait()
    return (STOPPED if came and code < 0 else code), came  # told before it could listen


def _command(run: RunConfig, folder: RunFolder) -> list[str]:
    """What executes the run: on this node, or by srun on each of its nodes, which meet at the first one."""
    if run.ranks.nodes == 1:
        return worker_command(run, folder)
    nodes = queue.nodes_of(os.environ["SLURM_JOB_NODELIST"])
    job, restart = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_RESTART_COUNT") or "0"
    port = FIRST_PORT + int(job) % NUM_PORTS
    meeting = Meeting(f"{job}-{restart}", f"{queue.address_of(nodes[0])}:{port}")
    spread = [
        f"--nodes={len(nodes)}",
        f"--ntasks={len(nodes)}",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=0",
        "--wait=60",
    ]
    return ["srun", *spread, *worker_command(run, folder, meeting)]


def _again(folder: RunFolder, job: str) -> int:
    """Back into the queue."""
    folder.forget_failure()
    refused = queue.requeue(job)
    if refused is not None:
        folder.write_failure(f"its job could not be requeued: {refused}{tail(folder)}")
        return 1
    print("requeued; it goes on from its checkpoint", flush=True)
    return STOPPED


def _failed(folder: RunFolder, code: int, tried: Sequence[Attempt], *, broke: bool) -> int:
    """What broke before the run began would break for ever, and what the run itself has named is final."""
    if broke:
        folder.write_failure(gave_up(folder, tried))
    elif code and not folder.failed:
        folder.write_failure(ending(code, folder) + tail(folder))
    return 1 if code else STOPPED  # 0 without a result: another process executes it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
