"""A process of a run over several devices, started by agent.py: rank 0 executes the run, others serve it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from tunelab.errors import RankLost
from tunelab.launch import worker
from tunelab.launch.ranks.agent import AGENT, LEADER, LOST
from tunelab.study.planning.plan import parts
from tunelab.study.store import RunFolder


@record
def main() -> None:
    """The agent reads an exception's words from a file that `record` writes."""
    worker.die_with(int(os.environ[AGENT]))
    folder = RunFolder(Path(sys.argv[1]))
    run = folder.to_execute()
    if int(os.environ["RANK"]) == 0:
        Path(os.environ[LEADER]).write_text(str(os.getpid()))
    else:
        for (
            number
        ) in worker.STOP_SIGNALS:  # SLURM signals every process of a job, and rank 0 alone decides when to stop
            signal.signal(number, signal.SIG_IGN)
        with folder.log.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
    made = parts(run)
    try:
        with made.backend.joined(run) as rank:
            status = worker.main() if rank == 0 else made.backend.serve(run, made.method)
    except RankLost as error:
        print(f"rank {os.environ['RANK']}: {error}", file=sys.stderr)
        status = LOST
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)  # what a broken connection left behind is not waited for


if __name__ == "__main__":
    main()
