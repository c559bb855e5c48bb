"""One run over several devices: the command that starts its processes, and the agent that watches them.

`python -m tunelab.launch.ranks.agent OUT/runs/<run id>` is torchrun (torch.distributed's elastic agent) for the
processes of member.py; it starts nothing again, because a run that is started anew goes on from its checkpoint. Rank
0's standard output carries the run's events. The agent dies with its parent and the processes with the agent; it hands
SIGTERM, SIGINT and SIGUSR1 to rank 0, which alone decides when a run stops. Where a process ends by itself, the agent
ends the others at once and names the first one's reason as the run's.

On one node the processes meet in a file and nothing listens but on the loopback; over several nodes the first node
listens where `--endpoint` says.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.config.launch import MEETING
from tunelab.config.run import RunConfig
from tunelab.study.planning.plan import load_backend
from tunelab.study.store import RunFolder

AGENT, LEADER = "TUNELAB_AGENT", "TUNELAB_LEADER"
"""In the environment of the processes: the agent's pid, and the file that rank 0 writes its own into."""
LOST = 76
"""Exit status of a rank that has lost another one: not its own failure."""

PATIENCE = 5
"""Seconds that processes have to end by themselves when one of them has failed."""
HANDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Meeting(NamedTuple):
    """Where the nodes of a run find each other; each of them is given the same."""

    id: str
    """Of this attempt: another one must not meet its leftovers."""
    endpoint: str
    """HOST:PORT of the first node."""


def worker_command(run: RunConfig, folder: RunFolder, meeting: Meeting | None = None) -> list[str]:
    """What executes the run, on each of its nodes."""
    if run.ranks.count == 1:
        return load_backend(run.backend).command("tunelab.launch.worker", str(folder.path))
    command = [sys.executable, "-m", "tunelab.launch.ranks.agent", str(folder.path)]
    return command if meeting is None else [*command, "--id", meeting.id, "--endpoint", meeting.endpoint]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tunelab.launch.ranks.agent")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--id", default="one-node")
    parser.add_argument("--endpoint")
    given = parser.parse_args()
    from tunelab.launch.worker import die_with

    parent = os.getppid()
    die_with(parent)
    folder = RunFolder(given.folder)
    run = folder.to_execute()
    with folder.log.open("a") as log:
        os.dup2(log.fileno(), 2)
    with tempfile.TemporaryDirectory(prefix="tunelab-ranks-") as place:
        if problem := _too_many(run):
            _fail(folder, problem)
            return 1
        _prepare_environment(run, Path(place), alone=given.endpoint is None)
        _hand_signals_on(Path(place) / LEADER, alone=given.endpoint is None)
        return _watch(run, folder, Path(place), meeting_id=given.id, endpoint=given.endpoint)


def _too_many(run: RunConfig) -> str:
    from tunelab import device

    asked, there = run.ranks.devices, device.number()
    if not device.on_gpu() or asked <= there:
        return ""
    return f"launch.devices: {asked} GPUs are asked for and torch sees {there} on this machine; ask for {there} at most"


def _prepare_environment(run: RunConfig, place: Path, *, alone: bool) -> None:
    threads = str(max(1, run.threads // run.ranks.devices))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    os.environ.update(dict.fromkeys(names, threads))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # sharing it with the agent's raced at the start
    os.environ[AGENT], os.environ[LEADER] = str(os.getpid()), str(place / LEADER)
    if alone:
        os.environ[MEETING] = str(place / MEETING)
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"


def _hand_signals_on(leader: Path, *, alone: bool) -> None:
    def hand_on(number: int, frame: Any) -> None:
        try:
            os.kill(int(leader.read_text()), number)
        except (OSError, ValueError):  # it has not begun, or has ended: nothing can be kept
            if alone:  # else it may be on another node, which is told too
                os._exit(128 + number)  # the processes die with the agent

    for number in HANDED:
        signal.signal(number, hand_on)


def _watch(run: RunConfig, folder: RunFolder, place: Path, *, meeting_id: str, endpoint: str | None) -> int:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    alone = endpoint is None
    config = LaunchConfig(
        min_nodes=run.ranks.nodes,
        max_nodes=run.ranks.nodes,
        nproc_per_node=run.ranks.devices,
        run_id=meeting_id,
        rdzv_backend="c10d",
        rdzv_endpoint=str(place / "agents") if alone else endpoint,
        rdzv_configs={"store_type": "file"} if alone else {},
        local_addr="127.0.0.1" if alone else None,
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle="SIGHUP,SIGQUIT",
        shutdown_timeout=PATIENCE,
        logs_specs=DefaultLogsSpecs(log_dir=str(place / "logs")),
    )
    command = [sys.executable, "-m", "tunelab.launch.ranks.member", str(folder.path)]
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        return _name(folder, error.failures)
    return 0


def _name(folder: RunFolder, failures: dict[int, Any]) -> int:
    """The run's failure is that of the first process that ended by itself; rank 0 has named its own. An exit status as
    launch/worker.py has them."""
    from tunelab.launch.worker import BROKEN, STOPPED

    if 0 in failures and failures[0].exitcode == STOPPED:
        return STOPPED
    own = [(rank, each) for rank, each in failures.items() if each.exitcode not in (LOST, -signal.SIGTERM)]
    if not own:  # on another node, whose agent names it
        time.sleep(PATIENCE)
        if any(attempt.how == "stopped" for attempt in folder.attempts()[-1:]):
            return STOPPED
        if not folder.settled:
            _fail(folder, f"a process of the run ended on another node without a word; see {folder.log}")
        return BROKEN
    rank, first = min(own, key=lambda found: (found[1].timestamp, found[0] == 0))
    if rank == 0 and folder.settled:
        return first.exitcode if first.exitcode > 0 else BROKEN
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        hint = " (out of memory? lower batch.max_tokens)" if name == "SIGKILL" else ""
        _fail(folder, f"rank {rank} of the run was ended by {name}{hint}; see {folder.log}")
    else:
        told = first.message["message"] if isinstance(first.message, dict) else first.message
        message = " ".join(str(told).split())
        _fail(folder, f"rank {rank}: {message}; see {folder.log}")
    return BROKEN


def _fail(folder: RunFolder, reason: str) -> None:
    folder.write_failure(reason)
    print(json.dumps({"event": "failed", "error": reason}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
