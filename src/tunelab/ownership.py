"""One writer of a folder, also between hosts that share a file system: who holds it, whether that one lives, and the
fence that ends a writer whose folder was taken over.

Holding is a file `owner-N.json` that appears whole and only where there is none (a hard link, which NFS does
atomically); giving up renames it. Taking over a dead holder's folder is making `owner-(N+1).json`, which of several
takers one can: numbers are never used twice. A holder looks before every write whether its own file is the last one.

Where the holder's process can be seen (same host, boot and process namespace) it is judged by its start time, else by
the age of its heartbeat by the file system's clock. An earlier start of the same SLURM job is over, whatever of it
still runs.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.errors import RunBusy
from tunelab.files import write_atomically

BEAT_SECONDS = 10.0
STALE_SECONDS = 90.0
"""Without a sign of life for so long a holder that cannot be seen counts as dead. File systems of clusters may show a
file's change up to a minute late."""
AGAIN_SECONDS = 0.5
HEARTBEAT = "heartbeat.json"


class Holder(NamedTuple):
    """A process that holds a folder."""

    host: str
    boot: str
    """Of the host: a process id means something until the next one only."""
    namespace: str
    """Of process ids: containers have their own."""
    pid: int
    start: str
    since: float
    """Seconds since 1970, by the holder's clock."""
    nonce: str
    job: str | None = None
    """Of SLURM: '12' or '12_3'."""
    restart: int = 0
    """How often SLURM has started that job again."""

    @property
    def name(self) -> str:
        """'node3, process 4711 (job 12_3)'."""
        job = "" if self.job is None else f" (job {self.job}{f', restart {self.restart}' if self.restart else ''})"
        return f"{self.host}, process {self.pid}{job}"


class Held(NamedTuple):
    """A folder that is held, as another process sees it."""

    holder: Holder
    silent_seconds: float
    """Since its last sign of life."""
    alive: bool
    facts: dict[str, Any]
    """What the holder last told of itself."""
    idle_seconds: float = 0.0
    """Since it told something new: a process that hangs may still give signs of life."""


class Ownership:
    """Of this process, while it holds the folder."""

    def __init__(self, folder: Path, file: Path, me: Holder, number: int) -> None:
        self._folder, self._file, self._me = folder, file, me
        self._number, self._next = number, _file(folder, number + 1)
        self._facts: dict[str, Any] = {}
        self._told = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def check(self) -> None:
        """The fence: to be called before every write.

        Raises:
            RunBusy: another process has taken the folder over.
        """
        if not self.holds:
            held = holder_of(self._folder)
            now = "" if held is None else f" by {held.holder.name}"
            raise RunBusy(f"{self._folder} was taken over{now}; this process writes nothing more into it")

    @property
    def holds(self) -> bool:
        return not self._next.exists() and _read(self._file) == self._me

    def tell(self, **facts: Any) -> None:
        """What others may read of this process with its next heartbeat."""
        self._facts = self._facts | facts
        self._told = time.monotonic()

    def _beat(self) -> None:
        while True:
            with suppress(OSError, RunBusy):  # a full or absent file system is for the writes to tell
                self.check()
                idle = time.monotonic() - self._told
                beat = {"nonce": self._me.nonce, "when": time.time(), "idle": idle, "facts": self._facts}
                write_atomically(self._folder / HEARTBEAT, json.dumps(beat))
            if self._ended.wait(BEAT_SECONDS):
                return

    def _release(self) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if self.holds:
                (self._folder / HEARTBEAT).unlink(missing_ok=True)
                self._file.rename(_released(self._folder, self._number))


@contextmanager
def own(folder: Path, *, patience: float = 0) -> Iterator[Ownership]:
    """Hold a folder.

    Args:
        patience: seconds for which it is tried again while another process holds it.

    Raises:
        RunBusy: another process holds it, and lives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    me = this_process()
    mine = folder / f".owner.{me.nonce}"
    try:  # a full disk leaves an empty file
        mine.write_text(json.dumps(me._asdict()))
        file, number = _patient_link(folder, mine, me, patience)
        _forget_askers(folder, now=mine.stat().st_mtime)
    finally:
        mine.unlink(missing_ok=True)
    ownership = Ownership(folder, file, me, number)
    ownership._thread.start()
    try:
        yield ownership
    finally:
        ownership._release()


def _forget_askers(folder: Path, *, now: float) -> None:
    """Files of processes that were killed while they asked for the folder."""
    for path in folder.glob(".owner.*"):
        if now - _changed(path) > STALE_SECONDS:
            path.unlink(missing_ok=True)


def _patient_link(folder: Path, mine: Path, me: Holder, patience: float) -> tuple[Path, int]:
    deadline = time.monotonic() + patience
    while True:
        try:
            return _link(folder, mine, me)
        except RunBusy:
            if time.monotonic() >= deadline:
                raise
        time.sleep(AGAIN_SECONDS)
        mine.touch()  # its time is what the file system's clock says


def _link(folder: Path, mine: Path, me: Holder) -> tuple[Path, int]:
    while True:
        last, holder = _last(folder)
        held = None if holder is None else _held(folder, last, holder, now=mine.stat().st_mtime, me=me)
        if held is not None and held.alive:
            raise RunBusy(
                f"{folder} is being written by {held.holder.name}, last sign of life {held.silent_seconds:.0f} s ago; "
                "wait for it, or end it"
            )
        file = _file(folder, last + 1)
        try:
            os.link(mine, file)
        except FileExistsError:
            continue
        if _last(folder)[0] > last + 1 or _released(folder, last + 1).exists():
            file.unlink(missing_ok=True)  # others have taken and released it since it was looked at
            continue
        for number in range(last, 0, -1):
            old = [path for path in (_file(folder, number), _released(folder, number)) if path.exists()]
            if not old:
                break
            for path in old:
                path.unlink(missing_ok=True)
        return file, last + 1


def holder_of(folder: Path) -> Held | None:
    """Who holds a folder, dead or alive; None: nobody."""
    last, holder = _last(folder)
    return None if holder is None else _held(folder, last, holder, now=time.time(), me=this_process())


def _last(folder: Path) -> tuple[int, Holder | None]:
    """The largest number that was ever used, and who holds the folder with it."""
    while True:
        found = [re.fullmatch(r"(owner-|\.released-)(\d{6})\.json", entry.name) for entry in os.scandir(folder)]
        last = max((int(name[2]) for name in found if name), default=0)
        if last == 0 or _released(folder, last).exists():
            return last, None
        holder = _read(_file(folder, last))
        if holder is not None:
            return last, holder  # else it was released since


def _held(folder: Path, number: int, holder: Holder, *, now: float, me: Holder) -> Held:
    """`now`: by the clock of the file system, where that is known: this host's may differ."""
    beat, facts, idle = _heartbeat(folder, holder)
    began = _changed(_file(folder, number))
    silent = max(0.0, now - max(beat, began))
    return Held(holder, silent, _lives(holder, silent, me), facts, max(0.0, now - beat) + idle if beat else silent)


def _lives(holder: Holder, silent: float, me: Holder) -> bool:
    if holder.job is not None and holder.job == me.job and holder.restart < me.restart:
        return False
    return process_start(holder.pid) == holder.start if _same_place(holder, me) else silent < STALE_SECONDS


def is_here(holder: Holder) -> bool:
    """Whether its process can be seen, and so be ended, by this one: same host, boot and process namespace."""
    return _same_place(holder, this_process())


def _same_place(holder: Holder, me: Holder) -> bool:
    return (holder.host, holder.boot, holder.namespace) == (me.host, me.boot, me.namespace)


def _heartbeat(folder: Path, holder: Holder) -> tuple[float, dict[str, Any], float]:
    """When it was written, what it tells, and for how long it had told the same then."""
    try:
        with (folder / HEARTBEAT).open() as file:  # opening asks the server: a name's attributes may be an old copy
            beat = json.load(file)
            changed = os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, RecursionError):
        return 0.0, {}, 0.0
    mine = isinstance(beat, dict) and beat.get("nonce") == holder.nonce
    return (changed, beat["facts"], beat.get("idle", 0.0)) if mine else (0.0, {}, 0.0)


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _file(folder: Path, number: int) -> Path:
    return folder / f"owner-{number:06d}.json"


def _released(folder: Path, number: int) -> Path:
    return folder / f".released-{number:06d}.json"


def _read(file: Path) -> Holder | None:
    try:
        return Holder(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):  # of a host that went down while it was written
        return Holder("an unknown host", "", "", 0, "", 0.0, "")


def this_process() -> Holder:
    """This process as a holder, with a nonce of its own each time."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    pid = os.getpid()
    return Holder(
        host=socket.gethostname(), boot=_text("/proc/sys/kernel/random/boot_id"), namespace=_namespace(), pid=pid,
        start=process_start(pid) or "", since=time.time(), nonce=uuid.uuid4().hex, job=job,
        restart=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    )  # fmt: skip


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """Start time of a living process (clock ticks since boot on Linux): a process id alone can be used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc").is_dir() else _alive(pid)
    return None if fields[0] == "Z" else fields[19]


def _alive(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    return "unknown"
