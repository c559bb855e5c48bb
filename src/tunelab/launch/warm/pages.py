"""Pages of files (libraries' code) that a process has mapped, and a fork mapping the same ones.

A fork gets its parent's own memory, but none of the files' pages that the parent has read through: they would come one
by one as they are needed, and the fork's resident memory would be that much smaller than that of a process that has
imported the same by itself. Memory peaks must not depend on how a process was started.
"""

from __future__ import annotations

import ctypes
import os
import re
from array import array
from collections.abc import Iterator

Range = tuple[int, int]
"""Address and bytes."""

MADV_POPULATE_READ = 22
"""Linux 5.14 and later."""
PRESENT, OF_FILE = 1 << 63, 1 << 61
"""Bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst)."""
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ (\d+)")


def mapped_pages() -> tuple[Range, ...]:
    """Of this process; empty where the kernel does not tell."""
    try:
        with open("/proc/self/maps") as maps, open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            return tuple(found for line in maps.readlines() for found in _present(line, pagemap.fileno()))
    except OSError:
        return ()


def map_pages(pages: tuple[Range, ...]) -> None:
    """Have the same in this process, a fork; without effect where the kernel cannot do it."""
    if hasattr(ctypes, "CDLL"):
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for address, length in pages:
            if advise(address, length, MADV_POPULATE_READ):
                return


def _present(line: str, pagemap: int) -> Iterator[Range]:
    found = _MAPPING.match(line)
    if found is None or found[3] == "0":  # not to be read, or of no file
        return
    size = os.sysconf("SC_PAGE_SIZE")
    begin, end = int(found[1], 16), int(found[2], 16)
    entries = array("Q", os.pread(pagemap, (end - begin) // size * 8, begin // size * 8))
    since = None
    for number, entry in enumerate([*entries, 0]):
        there = entry & PRESENT and entry & OF_FILE
        if there and since is None:
            since = number
        elif not there and since is not None:
            yield begin + since * size, (number - since) * size
            since = None
