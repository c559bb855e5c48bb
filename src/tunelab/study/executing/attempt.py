"""One attempt at a run: it holds the run's folder, and leaves a line that says who tried and how it ended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

from tunelab.entries import Attempt
from tunelab.errors import RunBusy, Stopped
from tunelab.ownership import HEARTBEAT, this_process
from tunelab.study.store import RunFolder

SUBMISSION, LOG = "TUNELAB_SUBMISSION", "TUNELAB_JOB_LOG"
"""Environment of a job: which call submitted it, and the job's log."""
HALF_WRITTEN = (".model", ".*.tmp", "checkpoint/.writing-*", "evaluations/.*")
TO_GO_ON = ("checkpoint", "texts.jsonl")
MOST = 3
"""Attempts that may end without a result and without getting further."""


@contextmanager
def attempt(folder: RunFolder) -> Iterator[None]:
    """
    Raises:
        RunBusy: another process executes the run.
    """
    with folder.lock():
        sweep(folder)
        me = this_process()
        begun = Attempt(
            nonce=me.nonce, host=me.host, pid=me.pid, started=_now(), progress=folder.progress, job=me.job,
            restart=me.restart, submission=os.environ.get(SUBMISSION), log=os.environ.get(LOG),
        )  # fmt: skip
        folder.write_attempt(begun)
        how = "failed"
        try:
            yield
            how = "finished"
        except Stopped:
            how = "stopped"
            raise
        finally:
            with suppress(RunBusy):
                ended = {"ended": _now(), "how": how, "reached": folder.progress}
                folder.write_attempt(begun.model_copy(update=ended))


def sweep(folder: RunFolder) -> None:
    """Remove what killed processes have half written, and of a finished run what only going on with it needs. Whoever
    calls this holds the folder."""
    for pattern in (*HALF_WRITTEN, *(TO_GO_ON if folder.finished else ())):
        for path in folder.path.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif not path.name.startswith(f".{HEARTBEAT}"):  # perhaps this process's own, right now
                path.unlink(missing_ok=True)


def num_failed(attempts: Sequence[Attempt]) -> int:
    """Attempts at the end that brought nothing: killed, failed, or stopped where they had begun."""
    count = 0
    for each in reversed(attempts):
        if each.how == "finished" or (each.how == "stopped" and each.reached != each.progress):
            break
        count += 1
    return count


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
