"""Forecasts made by several processes at once, which leave them in the cache where this one then finds them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

MOST = 8
"""Processes; each holds what it imports and little else."""


def made_apart(jobs: Sequence[Callable[[], object]], *, processes: int) -> None:
    """Call each in one of so many forks of this process; what it returns or raises is lost. Where this process ends, so
    do they."""
    if processes < 2 or len(jobs) < 2 or sys.platform == "win32":
        return
    todo, given = os.pipe()
    for number in range(len(jobs)):
        os.write(given, number.to_bytes(2, "big"))
    os.close(given)
    children = [_forked(jobs, todo) for _ in range(min(processes, len(jobs), MOST))]
    os.close(todo)
    try:
        for pid in children:
            os.waitpid(pid, 0)
    except BaseException:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise


def _forked(jobs: Sequence[Callable[[], object]], todo: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of numpy's and pyarrow's threads, which forks end
        pid = os.fork()
    if pid == 0:
        try:
            _be_silent()
            while number := os.read(todo, 2):
                with suppress(Exception):
                    jobs[int.from_bytes(number, "big")]()
        finally:
            os._exit(0)
    return pid


def _be_silent() -> None:
    """What is to be said the parent says. A stream of its terminal may have been copied while one of its threads, which
    no fork has, held that stream's lock."""
    logging.disable(logging.CRITICAL)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")
    for file in (1, 2):
        os.dup2(sys.stdout.fileno(), file)
