"""What a machine does to a study: no room, a folder that nobody may write, too little memory, few open files, no home,
another locale, a reader that goes away, a clock that is set back, a second call in the same folder.

Each case returns its faults, none where it held: the call ends by itself without a traceback, says what is wrong where
something is, leaves no process, and the same command finishes the study afterwards with the bytes of an undisturbed
one.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from compared import differences, left_behind
from disturbed import at_work, method_of, phase_of
from studies import Call, Place, outliving, study_text

METHODS = ("lora",)
FULL_AT = ("load", "train", "checkpoint", "save", "evaluate", "result", "report")
"""Phases in which the disk becomes full, or read-only: each kind of write begins in one of them."""
DISK_MIB = 64
MEMORY_MIB = 16
"""That a worker may allocate from its start on; training takes more."""
CGROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
CLOCK = '''"""After some calls the clock goes a day back, for Python at least; written by scripts/torture."""
import time

_true, _calls = time.time, 0


def _time():
    global _calls
    _calls += 1
    return _true() - (86400.0 if _calls > 20 else 0.0)


time.time = _time
'''


class Undisturbed:
    """The study of these cases, left in peace."""

    def __init__(self, work: Path) -> None:
        self.work, self.text = work, study_text(METHODS)
        self.place = Place(work / "undisturbed", self.text)
        call = self.place.ran()
        if call.process.returncode != 0:
            raise RuntimeError(f"the study fails undisturbed: {call.said}")

    def new(self, name: str, **environment: str | None) -> Place:
        return Place(self.work / name, self.text, **environment)

    def faults(self, place: Place, call: Call, *, status: Sequence[int] = (0,), says: str = "") -> list[str]:
        """Of a call that has ended."""
        code = call.process.returncode
        found = [] if code in status else [f"status {code}, expected {' or '.join(map(str, status))}"]
        found += ["a traceback"] if "Traceback" in call.said else []
        found += [] if says.lower() in call.said.lower() else [f"it does not say '{says}'"]
        found += [f"process {pid} outlives it" for pid in outliving(place.folder)]
        return [f"{text}: {call.said[-1500:]}" for text in found]

    def finished(self, place: Place) -> list[str]:
        """Faults of the same command, called again in peace."""
        return self.faults(place, place.ran()) + self.equal(place)

    def equal(self, place: Place) -> list[str]:
        return differences(place.out, self.place.out) + left_behind(place.out)


# ------------------------------------------------------------ disks


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "torture", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(folder: Path) -> Path:
    """To the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\1" * size)
    return ballast


def until(phase: str, call: Call, out: Path) -> None:
    while call.alive and phase_of(call, at_work(out)) != phase:
        time.sleep(0.002)


def full_disk(peace: Undisturbed, phase: str) -> list[str]:
    place = peace.new(f"full-{phase}")
    with small_disk(place.out):
        call = place.started()
        until(phase, call, place.out)
        ballast = fill(place.out)
        ended = call.wait(300)
        found = [] if ended is not None else ["it hangs on a full disk"]
        found += peace.faults(place, call, status=(0, 1), says="no space left" if ended else "")
        ballast.unlink()
        return found + peace.finished(place)


def frozen(folder: Path, flag: str) -> None:
    """+i: nothing in it can be written, made or renamed, by root neither."""
    files = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    for path in files if flag == "+i" else files[::-1]:
        subprocess.run(["chattr", flag, str(path)], stderr=subprocess.DEVNULL)


def read_only(peace: Undisturbed, phase: str) -> list[str]:
    place = peace.new(f"read-only-{phase}")
    call = place.started()
    until(phase, call, place.out)
    place.out.mkdir(exist_ok=True)
    frozen(place.out, "+i")
    try:
        ended = call.wait(300)
    finally:
        frozen(place.out, "-i")
    found = [] if ended is not None else ["it hangs where nothing can be written"]
    found += peace.faults(place, call, status=(0, 1), says="not permitted" if ended else "")
    return found + peace.finished(place)


# ------------------------------------------------------------ limits


def cgroup() -> Path | None:
    """A folder in which memory can be limited; None: not by this user, or not on this system."""
    for root in CGROUPS:
        folder = root / f"tunelab-torture-{os.getpid()}"
        with suppress(OSError):
            folder.mkdir()
            if any((folder / name).exists() for name in ("memory.limit_in_bytes", "memory.max")):
                return folder
            folder.rmdir()
    return None


def little_memory(peace: Undisturbed) -> list[str]:
    """The system ends the worker, which is named so."""
    place, group = peace.new("memory"), cgroup()
    if group is None:
        return ["no cgroup can be made here: not tried"]
    limit = next(group / name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists())
    try:
        limit.write_text(str(MEMORY_MIB << 20))
        call = place.started()
        while call.alive and method_of(at_work(place.out)) != METHODS[0]:
            time.sleep(0.002)
        run = at_work(place.out)
        held = None if run is None else run.held()
        if held is None:
            return ["no worker was seen"]
        (group / "cgroup.procs").write_text(str(held.holder.pid))  # what it allocates from here on is counted
        call.wait()
        found = peace.faults(place, call, status=(1,), says="ended by SIGKILL (out of memory?")
    finally:
        with suppress(OSError):
            group.rmdir()
    return found + peace.finished(place)


def limited(peace: Undisturbed, name: str, limits: dict[int, int], *, says: str) -> list[str]:
    """Under limits of the system that do not reach: either it is done, or it says what is in the way."""
    place = peace.new(name)
    call = Call(place.command(), place.folder / "said.txt", place.environment)
    for kind, value in limits.items():
        resource.prlimit(call.pid, kind, (value, value))
    ended = call.wait()
    found = peace.faults(place, call, status=(0, 1), says=says if ended else "")
    return found + peace.finished(place)


# ------------------------------------------------------------ what surrounds a process


def odd_environment(peace: Undisturbed, name: str, **environment: str | None) -> list[str]:
    place = peace.new(name, **environment)
    call = place.ran()
    return peace.faults(place, call) + peace.equal(place)


def clock_set_back(peace: Undisturbed) -> list[str]:
    """Killed in its middle besides, so that locks and checkpoints of a later day are found."""
    place = peace.new("clock")
    (place.folder / "shim").mkdir(exist_ok=True)
    (place.folder / "shim" / "sitecustomize.py").write_text(CLOCK)
    true = dict(place.environment)
    call = place.started()
    until("train", call, place.out)
    call.kill()
    outliving(place.folder)
    place.environment["PYTHONPATH"] = f"{place.folder / 'shim'}:{true['PYTHONPATH']}"
    for path in place.out.rglob("*"):
        os.utime(path, (time.time() + 86400, time.time() + 86400))
    call = place.ran()
    return peace.faults(place, call) + peace.equal(place)


def closed_pipe(peace: Undisturbed) -> list[str]:
    """Whoever reads what it says goes away at once; the study goes on, or ends without a word."""
    place = peace.new("pipe")
    errors = place.folder / "errors.txt"
    with errors.open("wb") as file:
        process = subprocess.Popen(
            place.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file, env=place.environment
        )
        assert process.stdout is not None
        process.stdout.close()
        process.wait(600)
    said = errors.read_text(errors="replace")
    found = [f"a traceback: {said[-1500:]}"] if "Traceback" in said or "BrokenPipe" in said else []
    found += [f"process {pid} outlives it" for pid in outliving(place.folder)]
    return found + peace.finished(place)


def no_streams(peace: Undisturbed) -> list[str]:
    """As some schedulers start programs: with none of the three open."""
    place = peace.new("streams")
    closing = "import os, sys; [os.close(n) for n in (0, 1, 2)]; os.execv(sys.argv[1], sys.argv[1:])"
    command = place.command()
    process = subprocess.run([command[0], "-c", closing, *command], env=place.environment, timeout=600)
    found = [] if process.returncode == 0 else [f"status {process.returncode} without streams"]
    found += [f"process {pid} outlives it" for pid in outliving(place.folder)]
    return found + peace.finished(place)


def two_calls(peace: Undisturbed) -> list[str]:
    """At the same time in one folder: no record is written twice, and both end."""
    place = peace.new("two")
    calls = [Call(place.command(), place.folder / f"said-{n}.txt", place.environment) for n in (1, 2)]
    statuses = [call.wait() for call in calls]
    found = [f"a traceback: {call.said[-1500:]}" for call in calls if "Traceback" in call.said]
    found += [f"one hangs: {call.said[-500:]}" for call, code in zip(calls, statuses, strict=True) if code is None]
    return found + peace.finished(place)


def stopped_and_orphaned(peace: Undisturbed) -> list[str]:
    """A worker that is stopped while its parent is killed ends with it, and holds its run no longer."""
    place = peace.new("stopped")
    first = place.started()
    until("train", first, place.out)
    run = at_work(place.out)
    held = None if run is None else run.held()
    if held is None:
        return ["the run was over before it could be stopped"]
    os.kill(held.holder.pid, signal.SIGSTOP)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    time.sleep(0.5)
    found = [f"process {pid} outlives its parent" for pid in outliving(place.folder)]
    return found + peace.finished(place)


def cases() -> dict[str, Callable[[Undisturbed], list[str]]]:
    few = {n: partial(limited, name=f"files-{n}", limits={resource.RLIMIT_NOFILE: n}, says="") for n in (256, 64, 24)}
    odd = {
        "no HOME": {"HOME": None, "TUNELAB_CACHE": None, "XDG_CACHE_HOME": "{folder}/cache"},
        "a HOME that is not there": {"HOME": "/nonexistent/home"},
        "a cache that cannot be written": {"TUNELAB_CACHE": "/proc/nowhere"},
        "C locale": {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "output in ASCII": {"PYTHONIOENCODING": "ascii"},
    }
    return {
        **{f"disk full: {phase}": partial(full_disk, phase=phase) for phase in FULL_AT},
        **{f"read-only: {phase}": partial(read_only, phase=phase) for phase in FULL_AT},
        "memory: a worker ended by the system": little_memory,
        **{f"open files: {number}": case for number, case in few.items()},
        **{f"environment: {name}": partial(_odd, name=name, given=given) for name, given in odd.items()},
        "clock set back by a day": clock_set_back,
        "closed pipe": closed_pipe,
        "no standard streams": no_streams,
        "two calls at once": two_calls,
        "stopped, and its parent killed": stopped_and_orphaned,
    }  # fmt: skip


def _odd(peace: Undisturbed, *, name: str, given: dict[str, str | None]) -> list[str]:
    short = name.replace(" ", "-").lower()
    filled = {key: value and value.format(folder=peace.work / short) for key, value in given.items()}
    return odd_environment(peace, short, **filled)


def tried(work: Path, words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(case, faults) each, of those with one of the words."""
    chosen = {name: case for name, case in cases().items() if not words or any(word in name for word in words)}
    if not chosen:
        return
    peace = Undisturbed(work)
    for name, case in chosen.items():
        try:
            yield name, case(peace)
        except Exception as error:  # one case that cannot be made says so, and the others go on
            yield name, [f"{type(error).__name__}: {error}"]
