"""The study's side of the warm parent: it is started, asked for workers, and replaced by ordinary processes where it
has ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Protocol

from tunelab.config.run import RunConfig
from tunelab.study.planning.plan import load_backend
from tunelab.study.store import RunFolder


class Worker(Protocol):
    """A run's process: what subprocess.Popen offers of it."""

    stdout: IO[str] | None
    returncode: int | None

    def terminate(self) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class ParentEnded(Exception):
    """The warm parent is gone, and with it its workers."""


class Parents:
    """At most one warm parent, of the back end, the model and the environment that runs have."""

    def __init__(self, told: Callable[[str], object]) -> None:
        self._told = told
        self._parent: WarmParent | None = None
        self._of: Any = None
        self._lost = False
        self._lock = threading.Lock()

    def start(self, run: RunConfig, folder: RunFolder, environment: Mapping[str, str]) -> Forked | None:
        """None: start it in another way. The warm parent is that of other runs, or has ended."""
        of = run.backend, run.model, environment
        with self._lock:
            if self._lost or self._of not in (None, of):
                return None
            if self._parent is None:
                self._of, self._parent = of, WarmParent(run.backend, environment)
        try:
            return self._parent.start(folder)
        except ParentEnded:
            self.lose()
            return None

    def lose(self) -> None:
        """It has ended: nothing is forked any more."""
        with self._lock:
            first, self._lost = not self._lost, True
        if first:
            self._told(f"The process that runs are forked from ended ({self._end()}); each is started by itself now.")

    def close(self) -> None:
        """End it, and what still lives of its workers."""
        with self._lock:
            self._lost = True
        if self._parent is not None:
            self._parent.close()

    def _end(self) -> str:
        code = self._parent.ended() if self._parent is not None else None
        if code is None:
            return "it answers no more"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def forks(run: RunConfig, gpus: Sequence[str]) -> bool:
    """Whether a warm parent may start it: on the CPU of this machine, in one process, by a back end that says so."""
    return sys.platform == "linux" and run.ranks.count == 1 and not gpus and load_backend(run.backend).forks


class WarmParent:
    """One process, started by the thread that makes this, with which it dies."""

    def __init__(self, backend: str, environment: Mapping[str, str]) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = load_backend(backend).command("tunelab.launch.warm.parent", str(theirs.fileno()))
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=environment, pass_fds=(theirs.fileno(),)
            )
        self._control = mine
        self._lock = threading.Lock()

    def start(self, folder: RunFolder) -> Forked:
        """
        Raises:
            ParentEnded: also where it cannot fork.
        """
        events, told = os.pipe()
        life, lives = os.pipe()
        try:
            with self._lock:
                message = json.dumps({"folder": str(folder.path.absolute())}).encode()
                socket.send_fds(self._control, [message], [told, lives])
        except OSError:
            os.close(events)
            os.close(life)
            raise ParentEnded from None
        finally:
            os.close(told)
            os.close(lives)
        return Forked(self, os.fdopen(events), os.fdopen(life, "rb", buffering=0))

    def send(self, number: signal.Signals, pid: int) -> None:
        """To a worker, if it has not ended."""
        with contextlib.suppress(OSError), self._lock:  # the parent is gone, and all workers with it
            self._control.send(json.dumps({"signal": int(number), "pid": pid}).encode())

    def ended(self) -> int | None:
        """Its exit status; None: it lives."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(1.0)
        return None

    def close(self) -> None:
        """Its workers have ended, or end with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class Forked:
    """A worker that the warm parent has forked."""

    def __init__(self, parent: WarmParent, stdout: IO[str], life: IO[bytes]) -> None:
        self.stdout: IO[str] | None = stdout
        self.returncode: int | None = None
        self._parent = parent
        self._life = life
        self._lock = threading.Lock()
        told = life.readline()
        if not told:
            stdout.close()
            life.close()
            raise ParentEnded
        self.pid: int = json.loads(told)["pid"]

    def terminate(self) -> None:
        self._parent.send(signal.SIGTERM, self.pid)

    def kill(self) -> None:
        if self.returncode is None:
            self._parent.send(signal.SIGKILL, self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            TimeoutExpired: as Popen.wait.
            ParentEnded: before the worker did.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        try:
            code = self.returncode
            if code is None:
                left = None if until is None else max(0.0, until - time.monotonic())
                if not select.select([self._life], [], [], left)[0]:
                    raise subprocess.TimeoutExpired("worker", timeout or 0.0)
                told = self._life.readline()
                self._life.close()
                if not told:
                    self.returncode = -signal.SIGKILL
                    raise ParentEnded
                self.returncode = code = int(json.loads(told)["status"])
            return code
        finally:
            self._lock.release()
