"""Executes prepared runs, several at a time if asked: each in a process of its own, or in this one for debugging."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tunelab.config.launch import Launch
from tunelab.config.run import RunConfig
from tunelab.study.store import RunFolder

Events = Callable[[RunConfig, dict[str, Any]], None]
"""Told what happens: the run, and an event as the worker sends it."""

IN_PROCESS_NOTE = "in-process: memory peaks include what earlier runs of this process left behind"


class Executor:
    """A context manager. On leaving it by an error or Ctrl-C no worker outlives it; their checkpoints stay."""

    def __init__(self, launch: Launch, *, events: Events) -> None:
        self._in_process = launch.cluster == "in-process"
        self._count = 1 if self._in_process or launch.workers == "auto" else launch.workers
        # One thread per worker until the end: a worker dies with the thread that started it (PR_SET_PDEATHSIG).
        self._threads = ThreadPoolExecutor(self._count)
        self._futures: dict[Future[None], str] = {}
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._events = events

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self._closed = True
            for process in list(self._processes):
                process.kill()
        self._threads.shutdown(cancel_futures=True)

    @property
    def running(self) -> frozenset[str]:
        """Ids of the runs that were started and have not ended."""
        return frozenset(self._futures.values())

    @property
    def num_free(self) -> int:
        return self._count - len(self._futures)

    def start(self, run: RunConfig, folder: RunFolder) -> None:
        """Execute one run to its result or its named failure."""
        folder.forget_failure()
        if self._in_process:
            from tunelab.launch.worker import work

            with folder.log.open("a") as log, contextlib.redirect_stderr(log):
                work(folder, lambda event: self._events(run, event), notes=(IN_PROCESS_NOTE,))
            done: Future[None] = Future()
            done.set_result(None)
            self._futures[done] = run.id
        else:
            self._futures[self._threads.submit(self._work, run, folder)] = run.id

    def wait(self) -> set[str]:
        """Blocks until a run has ended; ids of those that have."""
        ended, _ = wait(self._futures, return_when=FIRST_COMPLETED)
        ids = {self._futures.pop(future) for future in ended}
        for future in ended:
            future.result()
        return ids

    def _work(self, run: RunConfig, folder: RunFolder) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelab.launch.worker", str(folder.path)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=worker_environment(run),
        )
        self._processes.add(process)
        busy = False
        try:
            if self._closed:  # between the end and this start
                return
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                busy = busy or event["event"] == "busy"
                self._tell(run, event)
            process.wait()
        finally:
            process.kill()
            process.wait()
            self._processes.discard(process)
        if not (busy or self._closed or folder.finished or folder.failed):
            reason = _ending(process.returncode, folder)
            folder.write_failure(reason)
            self._tell(run, {"event": "failed", "error": reason})

    def _tell(self, run: RunConfig, event: dict[str, Any]) -> None:
        with self._lock:
            self._events(run, event)


def worker_environment(run: RunConfig) -> dict[str, str]:
    """Threads as recorded; idle OpenMP threads sleep, because spinning ones are many times slower on a busy machine."""
    threads = str(run.threads)
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), threads)
    return {**os.environ, **counts, "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}


def _ending(code: int, folder: RunFolder) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory? lower batch.max_tokens)" if name == "SIGKILL" else ""
        return f"the run's process was ended by {name}{hint}; see {folder.log}"
    return f"the run's process ended with status {code} and no result; see {folder.log}"
