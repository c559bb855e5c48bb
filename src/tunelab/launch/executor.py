"""Executes prepared runs, several at a time if asked: each in a process of its own, or in this one for debugging."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tunelab.config.launch import Launch
from tunelab.config.run import RunConfig
from tunelab.launch.ranks.agent import worker_command
from tunelab.launch.warm.workers import ParentEnded, Parents, Worker, forks
from tunelab.study.planning.plan import load_backend
from tunelab.study.store import RunFolder

Events = Callable[[RunConfig, dict[str, Any]], None]
"""Told what happens: the run, and an event as the worker sends it."""

GRACE_SECONDS = 60.0
"""For a running step and its checkpoint, when runs are asked to stop."""
KERNELS = dict.fromkeys(("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), "64")
"""Products of different sizes that a compiled kernel is kept of, half a megabyte each, by oneDNN and then by its user
it. With their own 1,024 a small model's run held half a GiB more, the more the longer it ran, and was no faster."""
HEAP = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"}
"""glibc cuts a tensor, whose address is a multiple of 64, out of a larger piece, and keeps small remainders apart for
small requests: beside one that is kept a hole is too small for the next tensor of the same size. Without those caches
remainders are joined to it again: DoRA on a LLaMA-shaped model took 441 MiB where it took 635, in the same time."""
IN_PROCESS_NOTE = "in-process: memory peaks include what earlier runs of this process left behind"


class Executor:
    """A context manager. On leaving it by an error or Ctrl-C no worker outlives it; their checkpoints stay."""

    def __init__(
        self,
        launch: Launch,
        *,
        events: Events,
        gpus: Sequence[str] = (),
        told: Callable[[str], object] = str,
    ) -> None:
        """
        Args:
            gpus: names as CUDA_VISIBLE_DEVICES has them; each run gets as many of its own as `launch.devices` says,
                where `launch.workers` leaves enough.
            told: given what is to be said of no one run; left out: nobody is.
        """
        self._in_process = launch.cluster == "in-process"
        places = [tuple(gpus[at : at + launch.devices]) for at in range(0, len(gpus), launch.devices)]
        places = [place for place in places if len(place) == launch.devices] or [()]
        workers = len(places) if launch.workers == "auto" else launch.workers
        self._count = 1 if self._in_process else workers
        self._free = [places[number % len(places)] for number in reversed(range(self._count))]
        """GPUs of the runs that may still be started."""
        # One thread per worker until the end: a worker dies with the thread that started it (PR_SET_PDEATHSIG).
        self._threads = ThreadPoolExecutor(self._count)
        self._futures: dict[Future[None], str] = {}
        self._processes: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._events = events
        self._parents = Parents(told) if launch.fork else None

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self._closed = True
            for process in list(self._processes):
                process.kill()
            self._close_parents()
        self._threads.shutdown(cancel_futures=True)
        self._close_parents()

    def _close_parents(self) -> None:
        if self._parents is not None:
            self._parents.close()

    def stop(self) -> None:
        """Ask all workers to write their checkpoints and to end; after the grace, or at Ctrl-C, they are killed."""
        self._closed = True
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            for process in list(self._processes):
                process.terminate()
            for process in list(self._processes):
                with contextlib.suppress(subprocess.TimeoutExpired, ParentEnded):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for process in list(self._processes):
                process.kill()

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
        if self._in_process and not load_backend(run.backend).opened_by:
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
        with self._lock:
            gpus = self._free.pop()
        try:
            self._run(run, folder, gpus)
        finally:
            self._free.append(gpus)

    def _run(self, run: RunConfig, folder: RunFolder, gpus: Sequence[str]) -> None:
        environment = worker_environment(run, gpus)
        parents = self._parents if forks(run, gpus) else None
        forked = None if parents is None else parents.start(run, folder, environment)
        try:
            code, told = self._watch(run, forked or _fresh(run, folder, environment))
        except ParentEnded:
            assert parents is not None
            parents.lose()
            if self._closed or folder.settled:
                return
            code, told = self._watch(run, _fresh(run, folder, environment))  # goes on from its checkpoint
        if not (told & {"busy", "stopped"} or self._closed or folder.settled):
            reason = ending(code, folder)
            folder.write_failure(reason)
            self._tell(run, {"event": "failed", "error": reason})

    def _watch(self, run: RunConfig, process: Worker) -> tuple[int, set[str]]:
        """To the process's end: its status, and the kinds of events that it has told."""
        self._processes.add(process)
        told: set[str] = set()
        try:
            if not self._closed:  # else it is between the end and this start
                assert process.stdout is not None
                for line in process.stdout:
                    event = json.loads(line)
                    told.add(event["event"])
                    self._tell(run, event)
                process.wait()
        finally:
            process.kill()
            code = process.wait()
            self._processes.discard(process)
        return code, told

    def _tell(self, run: RunConfig, event: dict[str, Any]) -> None:
        with self._lock:
            self._events(run, event)


def _fresh(run: RunConfig, folder: RunFolder, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    command = worker_command(run, folder)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=dict(environment))


def worker_environment(run: RunConfig, gpus: Sequence[str] = ()) -> dict[str, str]:
    """Threads as recorded; idle OpenMP threads sleep, because spinning ones are many times slower on a busy machine.
    Of the GPUs the worker sees its own."""
    threads = str(run.threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    found = {**KERNELS, **HEAP, **os.environ, **dict.fromkeys(names, threads)}
    found |= {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
    return found | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})


def visible_gpus(count: int) -> list[str]:
    """Names of this process's GPUs for its children: a scheduler may have given it some of the machine's."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(count)] if given is None else given.split(",")
    return [name.strip() for name in names if name.strip()][:count]


def ending(code: int, folder: RunFolder) -> str:
    """Of a worker that left neither a result nor a reason."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory? lower batch.max_tokens)" if name == "SIGKILL" else ""
        return f"the run's process was ended by {name}{hint}; see {folder.log}"
    return f"the run's process ended with status {code} and no result; see {folder.log}"
