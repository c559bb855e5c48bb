"""A warm parent: `python -m tunelab.launch.warm.parent SOCKET` imports what runs of a model need, computes nothing, and
forks a worker for each run that it is asked for.

A worker that is forked has the memory, the random state and the settings of a process that has just imported the same
by itself, and lives as launch/worker.py says: it dies with this process, which dies with the study's. What it is asked
on the socket is a JSON object: {"folder": ...} with two open files, the worker's standard output and where its life is
told ({"pid": ...}, then {"status": ...}), or {"signal": ..., "pid": ...}. It ends when the socket does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tunelab.launch import worker
from tunelab.launch.warm.pages import Range, map_pages, mapped_pages
from tunelab.study.store import RunFolder

MESSAGE_BYTES = 65_536


class Parent:
    """What it holds: the socket, what its imports printed, and the workers that live."""

    def __init__(self, control: socket.socket, printed: int) -> None:
        self._control = control
        self._printed = printed
        self._lives: dict[int, int] = {}
        """Process id -> the open file in which its end is told."""
        self._pages: tuple[Range, ...] | None = None
        """Of the files that its imports have mapped; None: it is not warm."""
        self._ended, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *received: None)

    def serve(self) -> None:
        """Until the study's process closes its end."""
        while True:
            ready, _, _ = select.select([self._control, self._ended], [], [])
            if self._ended in ready:
                os.read(self._ended, MESSAGE_BYTES)
                self._tell_ends()
            if self._control in ready and not self._answer():
                return

    def _answer(self) -> bool:
        message, files, *_ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
        if not message:
            return False
        asked = json.loads(message)
        if "signal" in asked:
            if asked["pid"] in self._lives:  # not ended, or not waited for: the id is still its own
                os.kill(asked["pid"], asked["signal"])
            return True
        events, life = files
        folder = RunFolder(Path(asked["folder"]))
        if self._pages is None:
            worker.warm(folder)
            self._pages = mapped_pages()
        pid = self._fork(folder, events, life)
        os.close(events)
        self._lives[pid] = life
        _say(life, pid=pid)
        return True

    def _fork(self, folder: RunFolder, events: int, life: int) -> int:
        mine = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, worker.STOP_SIGNALS)
        with warnings.catch_warnings():
            # Python 3.12 counts the threads of numpy's OpenBLAS and of pyarrow's jemalloc: both of these end and start
            # theirs around a fork (pthread_atfork).
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                for file in (self._control.fileno(), self._ended, life, *self._lives.values()):
                    os.close(file)
                _become(folder, events, self._printed, self._pages or (), parent=mine)
            finally:
                os._exit(worker.BROKEN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, worker.STOP_SIGNALS)
        return pid

    def _tell_ends(self) -> None:
        for pid, life in tuple(self._lives.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._lives[pid]
                _say(life, status=os.waitstatus_to_exitcode(status))
                os.close(life)


def _say(file: int, **facts: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the study's process does not wait for it any more
        os.write(file, f"{json.dumps(facts)}\n".encode())


def _become(folder: RunFolder, events: int, printed: int, pages: tuple[Range, ...], *, parent: int) -> NoReturn:
    """A worker, in the forked process."""
    status = worker.BROKEN
    try:
        worker.die_with(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(events, 1)
        os.close(events)
        map_pages(pages)
        status = worker.live(folder, before=lambda: _repeat(printed))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _repeat(printed: int) -> None:
    """Into the run's log: what was printed while that was imported which the run needs."""
    os.write(2, os.pread(printed, os.fstat(printed).st_size, 0))


def main(arguments: Sequence[str]) -> None:
    for number in worker.STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # of a terminal all get them; the workers write their checkpoints
    worker.die_with(os.getppid())
    printed = os.memfd_create("tunelab-imports")
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    with socket.socket(fileno=int(arguments[0])) as control:
        Parent(control, printed).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
