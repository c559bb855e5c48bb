"""Executes prepared runs one after the other: each in a process of its own, or in this one for debugging."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tunelab.config.schema import RunConfig
from tunelab.study.store import RunFolder

Events = Callable[[RunConfig, dict[str, Any]], None]
"""Told what happens: the run, and an event as the worker sends it."""

IN_PROCESS_NOTE = "in-process: memory peaks include what earlier runs of this process left behind"


def execute_run(run: RunConfig, folder: RunFolder, *, cluster: str, events: Events) -> None:
    """Execute one run to its result or its named failure."""
    folder.forget_failure()
    if cluster == "in-process":
        from tunelab.launch.worker import work

        work(folder, lambda event: events(run, event), notes=(IN_PROCESS_NOTE,))
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "tunelab.launch.worker", str(folder.path)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=worker_environment(run),
    )
    busy = False
    try:
        for line in process.stdout:
            event = json.loads(line)
            busy = busy or event["event"] == "busy"
            events(run, event)
        process.wait()
    except BaseException:  # Ctrl-C too: no worker outlives the study, its checkpoint stays
        process.kill()
        process.wait()
        raise
    if not (busy or folder.finished or folder.failed):
        reason = _ending(process.returncode, folder)
        folder.write_failure(reason)
        events(run, {"event": "failed", "error": reason})


def worker_environment(run: RunConfig) -> dict[str, str]:
    """Threads as recorded; idle OpenMP threads sleep, because spinning ones are many times slower on a busy machine."""
    threads = str(run.threads)
    settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
    return {**os.environ, **settings, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}


def _ending(code: int, folder: RunFolder) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory? lower batch.max_tokens)" if name == "SIGKILL" else ""
        return f"the run's process was ended by {name}{hint}; see {folder.log}"
    return f"the run's process ended with status {code} and no result; see {folder.log}"
