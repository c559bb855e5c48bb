"""Processes named by pid and start time, and all that belong together: known ones, marked ones, what these started."""

import os
import signal
import socket
import struct
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    pid: int
    started: str
    """In clock ticks since boot: with the pid it names one process for ever."""


def process(pid: int) -> Process | None:
    """A living one; None also for a zombie: process 1 of a container may never reap it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid, fields[19])


def kill(known: Process) -> None:
    if process(known.pid) == known:
        with suppress(ProcessLookupError):
            os.kill(known.pid, signal.SIGKILL)


def listener(path: Path) -> Process | None:
    """Who listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(path))
        size = struct.calcsize("3i")
        pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return process(pid)
    return None


def family(known: Set[Process], mark: str) -> dict[Process, str]:
    """With their command lines; never this process. `mark`: NAME=value in the environment."""
    parents, commands, members = {}, {}, set(known)
    for entry in Path("/proc").iterdir():
        one = process(int(entry.name)) if entry.name.isdigit() and int(entry.name) != os.getpid() else None
        if one is None:
            continue
        with suppress(OSError):  # ended meanwhile, or somebody else's
            parents[one] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[one] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                members.add(one)
    while True:
        pids = {member.pid for member in members if member in commands}
        more = {one for one, parent in parents.items() if parent in pids} - members
        if not more:
            return {one: command for one, command in commands.items() if one in members}
        members |= more
