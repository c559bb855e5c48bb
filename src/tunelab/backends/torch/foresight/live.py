"""Which storages are alive while operations are made on fake tensors, and what they are there for.

A storage is counted once whatever number of tensors look at it, from the operation that makes it to the moment at which
Python or autograd lets go of it: what the backward pass keeps needs no formula. What an operation takes and gives back
inside itself is not seen.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tunelab.backends.torch.foresight.effort import Counted
from tunelab.backends.torch.foresight.shapes import answer
from tunelab.entries import HOLES, MIB

TEMPORARY, KEPT, HEAD, GRADIENTS, STATE = "temporary", "kept for backward", "head", "gradients", "optimizer state"

ASKED = torch.ops.aten._local_scalar_dense.default
"""What a number is: a condition is true, and any other one."""
DEVICE = torch.ops.prim.device.default
ADDED = torch.ops.aten.add.Tensor
MOST_ANSWERS = 100_000
"""A loop until a number is small would never end."""
ALIKE = 0.03
MAPPED = 32 * MIB
"""Pieces as large glibc takes from the system and gives back at once, whatever its settings."""
HOLES_SHARE, HELD_SHARE = 0.18, 0.9
"""Of the heap: holes between pieces, and what it holds of the most that it had; with a worker's settings, measured
(benchmarks/predicted-memory_*)."""
NO_HOLES = (("", 0),)


class Event(NamedTuple):
    serial: int
    num_bytes: int
    """That are alive from now on; negative: no more."""
    moment: str


class Live(TorchDispatchMode):
    def __init__(self, mode: FakeTensorMode | None = None, *, on_cpu: bool) -> None:
        """`mode`: in which all tensors are fake ones."""
        super().__init__()
        self.mode = mode
        self.on_cpu = on_cpu
        self.num_answers = 0
        self.effort = Counted()
        self._fixed: set[int] = set()
        """Storages that follow from the weights alone."""
        self.events: list[Event] = []
        self.labels: dict[int, str] = {}
        """Of a storage by its number: what it is there for."""
        self.moment = "before"
        """What is being done, by which events are told apart."""
        self._serials: dict[int, int] = {}
        """Of storages that are alive, by their address."""
        self._sizes: dict[int, int] = {}
        self._label: str | None = None
        self._number = 0
        self._summed: tuple[int | None, int] = None, 0
        """What autograd has just added to, and how many events there were then."""
        self._became: dict[int, int] = {}
        """Of gradients that autograd has added to: the sum."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """There is none, and keeping it off costs some microseconds a call."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is DEVICE and type(args[0]) is FakeTensor:  # more than half of all calls
            return args[0].fake_device
        if func is ASKED:
            return self._answers(args[0], 1)[0]
        made, work, read = answer(self.mode, func, args, kwargs or {})
        fixed = bool(read) and all(map(self._is_fixed, read))
        self.effort.add(self._now(), work, fixed=fixed)
        summed = func is ADDED and _is_by_autograd()
        before = self._serials.get(args[0].untyped_storage()._cdata) if summed else None
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, Tensor):
                self._note(each, fixed)
            elif isinstance(each, tuple | list):
                for tensor in tree_leaves(each):
                    if isinstance(tensor, Tensor):
                        self._note(tensor, fixed)
        if work.within and self.on_cpu and not summed:
            self._pass(work.within)
        self._summed = before, len(self.events)
        return made

    def _answers(self, tensor: Tensor, count: int) -> list[float]:
        self.num_answers += count
        if self.num_answers > MOST_ANSWERS:
            raise RuntimeError("it asks its tensors for numbers without end")
        return [True if tensor.dtype == torch.bool else 1.0 if tensor.is_floating_point() else 1] * count

    def called(self) -> None:
        """A layer was."""
        self.effort.modules[self._now()] += 1

    def _note(self, tensor: Tensor, fixed: bool) -> None:
        serial = self.add(tensor)
        if fixed:
            self._fixed.add(serial)

    def _is_fixed(self, tensor: Tensor) -> bool:
        serial = self._serials.get(tensor.untyped_storage()._cdata, 0) if tensor.layout is torch.strided else 0
        return serial in self._fixed or self.labels.get(serial, "").startswith("weights")

    def add(self, tensor: Tensor, label: str | None = None) -> int:
        """The number of its storage; a new one is alive from now on. 0: sparse ones have several, whose parts were
        seen when they were made."""
        if tensor.layout is not torch.strided:
            return 0
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._serials:
            self._number += 1
            self._serials[address], num_bytes = self._number, storage.nbytes()
            self._sizes[self._number] = num_bytes
            self.events.append(Event(self._number, num_bytes, self._now()))
            self.labels[self._number] = self._label or (TEMPORARY if _is_backward() else KEPT)
            weakref.finalize(storage, self._gone, address)
        if label is not None:
            self.labels[self._serials[address]] = label
        return self._serials[address]

    def _pass(self, num_bytes: int) -> None:
        """As much was alive for a moment."""
        self._number += 1
        self.labels[self._number] = TEMPORARY
        self.events += [Event(self._number, size, self._now()) for size in (num_bytes, -num_bytes)]

    def _now(self) -> str:
        return f"{self.moment}, backward" if _is_backward() else self.moment

    def _gone(self, address: int) -> None:
        serial = self._serials.pop(address)
        gone = Event(serial, -self._sizes.pop(serial), self._now())
        if self._summed == (serial, len(self.events)):  # in place, were no mode looking on
            self._became[serial] = self.events[-1].serial
            self.events.insert(-1, gone)
        else:
            self.events.append(gone)

    def __enter__(self) -> Live:
        self._resize = torch.UntypedStorage.resize_
        torch.UntypedStorage.resize_ = lambda storage, size: self._resized(storage, size)  # pyright: ignore
        self._tolist = FakeTensor.tolist
        FakeTensor.tolist = lambda tensor: self._listed(tensor)  # pyright: ignore[reportAttributeAccessIssue]
        return super().__enter__()

    def __exit__(self, *failure: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # pyright: ignore
        FakeTensor.tolist = self._tolist
        super().__exit__(*failure)

    def _resized(self, storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
        """An operation that no dispatcher sees."""
        serial = self._serials.get(storage._cdata)
        if serial is not None:
            self.events.append(Event(serial, size - self._sizes[serial], self._now()))
            self._sizes[serial] = size
        return self._resize(storage, size)

    def _listed(self, tensor: FakeTensor) -> Any:
        """What asking each of its numbers gives, without a tensor for each."""
        return self._answers(tensor, len(tensor)) if tensor.dim() == 1 else self._tolist(tensor)

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """What is made meanwhile is there for that."""
        before, self._label = self._label, label
        try:
            yield
        finally:
            self._label = before

    def alive(self) -> set[int]:
        return set(self._serials.values())

    def settle(self, serials: Iterable[int], label: str) -> None:
        for serial in serials:
            self.labels[serial] = label

    def _label_of(self, serial: int) -> str:
        while serial in self._became:
            serial = self._became[serial]
        return self.labels[serial]

    def highest(self, *, fixed: int, holes: bool = False) -> dict[str, dict[str, int]]:
        """Of each moment what is alive when the most is, by label; and when the most is kept, and when there are the
        most gradients, which of another number of blocks may be the higher one. A backward pass has two: it begins with
        all that is kept, and ends with all gradients.

        Args:
            fixed: so many first events are of what was there before.
            holes: count what a CPU's allocator holds beside what is alive, too.
        """
        now = Counter[str]()
        found: dict[str, dict[str, int]] = {}
        kept = most_kept = 0
        heap = Heap()
        for number, event in enumerate(self.events):
            label = self._label_of(event.serial)
            now[label] += event.num_bytes
            kept += event.num_bytes if label == KEPT else 0
            most_kept = max(most_kept, kept)
            if number < fixed:
                continue
            moment = event.moment
            if moment.endswith("backward") and 2 * kept < most_kept:
                moment += ", late"
            heap.become(event.num_bytes)
            for ending, size in heap.holes() if holes else NO_HOLES:
                if holes:
                    now[HOLES] = size
                for key, measure in (
                    (f"{moment}{ending}", None),
                    (f"{moment}{ending}, most {KEPT}", KEPT),
                    (f"{moment}{ending}, most {GRADIENTS}", GRADIENTS),
                ):
                    if _is_above(now, found.get(key), measure):
                        found[key] = dict(now)
        return found


class Heap:
    """glibc's: what it holds beside what is asked of it. Where holes come to lie depends on every small allocation
    before, so shares are all that can be told."""

    def __init__(self) -> None:
        self._alive = self._most = 0

    def become(self, num_bytes: int) -> None:
        """So much more is alive, or less."""
        if abs(num_bytes) < MAPPED:
            self._alive += num_bytes
            self._most = max(self._most, self._alive)

    def holes(self) -> tuple[tuple[str, int], ...]:
        """Two lower bounds, each of which grows by the block: of what is alive, and of the most that ever was."""
        whole = 1 + HOLES_SHARE
        return tuple(
            (ending, int(whole * size) - self._alive)
            for ending, size in (("", self._alive), (", held", HELD_SHARE * self._most))
        )


def _is_above(now: Counter[str], highest: Mapping[str, int] | None, measure: str | None) -> bool:
    """By the total; of a measure first by that, in steps of a few percent."""
    if highest is None:
        return True
    if measure is not None:
        this, that = now[measure], highest.get(measure, 0)
        if abs(this - that) > ALIKE * max(this, that):
            return this > that
    return now.total() > sum(highest.values())


def _is_backward() -> bool:
    return torch._C._current_graph_task_id() != -1  # pyright: ignore[reportAttributeAccessIssue]


def _is_by_autograd() -> bool:
    """Whether the operation was called by the engine itself, and by no Python of a layer."""
    return sys._getframe(2).f_code.co_name == "_engine_run_backward"
