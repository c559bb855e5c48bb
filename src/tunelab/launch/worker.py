"""Executes one run from its folder, in a process of its own: `python -m tunelab.launch.worker OUT/runs/<run id>`, or a
fork of launch/warm/parent.py.

Standard output carries events, one JSON object a line; everything else that is printed goes to the run's log.txt.
The process dies with its parent (on Linux by PR_SET_PDEATHSIG) and exits 1 when the run failed, 70 when by an error
that nobody foresaw. SIGTERM, SIGUSR1 and SIGINT (of a terminal: the whole process group gets it) ask it to write its
checkpoint and stop; it then exits 75.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunelab.errors import Diverged, NoMemory, RunBusy, Stopped, TunelabError
from tunelab.files import refusal_of
from tunelab.launch.warm.imports import importing
from tunelab.records import Divergence
from tunelab.stages import heard_by
from tunelab.study.executing.execute import Progress, execute, never
from tunelab.study.planning.plan import load_backend, parts
from tunelab.study.store import RunFolder

PR_SET_PDEATHSIG = 1
STOPPED = 75
"""Exit status: to be tried again (EX_TEMPFAIL of sysexits.h)."""
BROKEN = 70
"""Exit status: by an error that nobody foresaw (EX_SOFTWARE); another attempt may do better."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def _advice(folder: RunFolder) -> str:
    """What would fit; nothing where that fails too, for the failure itself must be named."""
    from tunelab.study.foresight.advice import advice

    try:
        return advice(folder.read_run())
    except Exception:
        traceback.print_exc()
        return ""


def work(
    folder: RunFolder, progress: Progress, *, notes: tuple[str, ...] = (), stop: Callable[[], bool] = never
) -> int:
    """Execute and leave either a result or a named failure, or where it was stopped; returns an exit status."""
    divergence, status = None, 1

    def told(event: dict[str, Any]) -> None:
        folder.tell(**event)
        progress(event)

    try:
        run = folder.to_execute()
        with heard_by(lambda stage: progress({"event": "stage", "text": stage}) if stage else None):
            execute(run, parts(run), folder, told, notes=notes, stop=stop)
        return 0
    except RunBusy as error:  # it is another process's run now: nothing to name as failed
        progress({"event": "busy", "error": str(error)})
        return 0
    except Stopped as error:
        progress({"event": "stopped", "error": str(error)})
        return STOPPED
    except Diverged as error:
        message, divergence = str(error), Divergence(step=error.step, phases=error.phases)
    except NoMemory as error:
        message = str(error)
        with suppress(RunBusy):  # named first: what follows takes memory and time
            folder.write_failure(" ".join(message.split()))
        message += _advice(folder)
    except TunelabError as error:
        message = str(error)
    except OSError as error:  # a full disk says all there is to say; any other is a defect, as below
        traceback.print_exc()
        status, refusal = BROKEN, refusal_of(error)
        message = refusal or f"{type(error).__name__}: {error} (traceback in {folder.log})"
    except Exception as error:  # every other error is a defect: its traceback is kept, and the other runs go on
        traceback.print_exc()
        status = BROKEN
        message = f"{type(error).__name__}: {error} (traceback in {folder.log})"
    try:
        folder.write_failure(" ".join(message.split()), divergence=divergence)
    except RunBusy as error:
        progress({"event": "busy", "error": str(error)})
        return 0
    step = {} if divergence is None else {"diverged_at": divergence.step}
    progress({"event": "failed", "error": " ".join(message.split()), **step})
    return status


def main() -> int:
    die_with(os.getppid())
    folder = RunFolder(Path(sys.argv[1]))
    return live(folder, before=lambda: warm(folder))


def live(folder: RunFolder, *, before: Callable[[], None] = lambda: None) -> int:
    """This process's life: it says on what is now its standard output what happens, and then ends with the status.

    Args:
        before: called when what is printed goes to the log, and signals are heard.
    """
    events = os.fdopen(os.dup(1), "w", buffering=1)
    with folder.log.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    faulthandler.enable(file=2)  # a process that the system ends by SIGSEGV says where it was

    def tell(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    asked = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *received: asked.append(received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # a fork holds them back until here
    before()
    return work(folder, tell, stop=lambda: bool(asked))


def warm(folder: RunFolder) -> None:
    """Import what every run of its model needs. What goes wrong here is the run's own to tell, when it comes to it."""
    with importing():
        try:
            run = folder.to_execute()
            load_backend(run.backend).warm(run.model)
        except Exception:
            traceback.print_exc()


def die_with(parent: int) -> None:
    """End when that process does, which is this one's parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
