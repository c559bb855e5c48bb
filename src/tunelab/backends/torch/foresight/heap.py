"""How much memory a process holds whose tensors come and go in this order: glibc's heap, as far as it matters here.

Requests above a threshold are mapped and given back when they are freed. The threshold starts at 128 KiB and grows to the
largest mapped piece that was freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD); what lies below it is cut from one
heap, which shrinks at its end only. torch asks for addresses that are multiples of 64, and glibc before 2.38 looks for
room with that much to spare, so that a hole left by a tensor is too small for the next one of the same size.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from tunelab.backends.torch.foresight.live import Event

PAGE, HEADER, GRID = 4096, 16, 16
ALIGNED = 64 + 32
"""What a request for a multiple of 64 wants beyond its size."""
FIRST_THRESHOLD, LAST_THRESHOLD = 128 * 1024, 32 * 1024**2


class Heap:
    def __init__(self) -> None:
        self.end = self.mapped = 0
        self.threshold = FIRST_THRESHOLD
        self._free: list[tuple[int, int]] = []
        """(size, address) of holes, ascending."""
        self._holes: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        """End of a hole -> its address."""
        self._given: dict[int, tuple[int, int | None]] = {}
        """Key -> size and address; no address: mapped."""

    @property
    def resident(self) -> int:
        return self.end + self.mapped

    def allocate(self, key: int, num_bytes: int) -> None:
        size = -(-(num_bytes + HEADER) // GRID) * GRID
        place = bisect.bisect_left(self._free, (size + ALIGNED, 0))
        if place < len(self._free):
            whole, address = self._free[place]
            self._close(whole, address)
            self._open(whole - size, address + size)
        elif size >= self.threshold:
            size = -(-size // PAGE) * PAGE
            self.mapped += size
            self._given[key] = size, None
            return
        else:
            address = self._ends.get(self.end, self.end)
            if address != self.end:  # a hole at the end grows
                self._close(self._holes[address], address)
            self.end = address + size
        self._given[key] = size, address

    def free(self, key: int) -> None:
        size, address = self._given.pop(key)
        if address is None:
            self.mapped -= size
            self.threshold = size if self.threshold < size <= LAST_THRESHOLD else self.threshold
            return
        if (behind := self._holes.get(address + size)) is not None:
            self._close(behind, address + size)
            size += behind
        if (before := self._ends.get(address)) is not None:
            size, address = size + self._holes[before], before
            self._close(self._holes[before], before)
        if address + size == self.end and size > 2 * self.threshold:
            self.end = address
        else:
            self._open(size, address)

    def _open(self, size: int, address: int) -> None:
        bisect.insort(self._free, (size, address))
        self._holes[address], self._ends[address + size] = size, address

    def _close(self, size: int, address: int) -> None:
        del self._free[bisect.bisect_left(self._free, (size, address))]
        del self._holes[address], self._ends[address + size]


def resident_peak(events: Iterable[Event], *, start: int, fixed: int) -> int:
    """The most that is resident after event number `start`, above the first `fixed` events' storages, which were there
    before and lie elsewhere. A storage that is resized is taken as freed and asked for again."""
    heap, sizes, most = Heap(), dict[int, int](), 0
    for number, event in enumerate(events):
        if number < fixed:
            continue
        before = sizes.get(event.serial)
        if before is None and event.num_bytes < 0:  # one of the fixed
            continue
        if before:
            heap.free(event.serial)
        now = (before or 0) + event.num_bytes
        sizes[event.serial] = now
        if now:
            heap.allocate(event.serial, now)
        if number >= start:
            most = max(most, heap.resident)
    return most
