"""The processes of one run over several devices: how they meet, what rank 0 tells the others, what they answer.

Orders are small (names, token rows) and go over gloo whatever the device; tensors go by training/ranks.py, on CUDA over
NCCL. Others wait for the next order as long as it takes; a sum that one of them does not join ends after SUM_TIMEOUT.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tunelab import device
from tunelab.backend_contract import Memory
from tunelab.config.launch import MEETING
from tunelab.config.run import RunConfig
from tunelab.errors import RankLost, RunError

SUM_TIMEOUT = timedelta(hours=1)
ORDER_TIMEOUT = timedelta(days=100)
OPEN, END, FAILED = "open", "end", "failed"

_met: Peers | None = None


def met() -> Peers | None:
    """The other ranks, where this process has met some."""
    return _met


@contextmanager
def joined(run: RunConfig) -> Iterator[int]:
    """As Backend.joined."""
    global _met
    if run.ranks.count == 1:
        yield 0
        return
    _met = _meet(run)
    yield _met.rank
    if _met.busy:  # the others are in the middle of something and learn it by the connection's end
        return
    if _met.rank == 0:
        _met.tell(END)
    distributed.barrier(_met.group)
    distributed.destroy_process_group()
    _met = None


def _meet(run: RunConfig) -> Peers:
    if "RANK" not in os.environ:
        raise RunError(f"run {run.id} is for {run.ranks.count} devices and was not started as that many processes")
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if count != run.ranks.count:
        raise RunError(f"run {run.id} is for {run.ranks.count} devices and was started as {count} processes")
    return meet(rank, count)


def meet(rank: int, count: int) -> Peers:
    """By what the environment says of the place."""
    on_gpu = device.on_gpu()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if place := os.environ.get(MEETING):
        store: Any = distributed.FileStore(place, count)  # pyright: ignore[reportPrivateImportUsage]
    else:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            address, port, count, is_master=rank == 0
        )
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=count, timeout=SUM_TIMEOUT
    )
    return Peers(rank, count, store)


class Peers:
    """What every rank has of the meeting."""

    def __init__(self, rank: int, count: int, store: Any) -> None:
        self.rank, self.count, self.store = rank, count, store
        self.group: Any = distributed.new_group(backend="gloo", timeout=ORDER_TIMEOUT)
        self.busy = False
        """On rank 0: an order was given and not finished. So it stays where that failed."""
        self._topics = 0
        self.memory: Memory | None = None
        self.held: list[float | None] = [None] * count
        """What each held when it answered last: so much it holds until the next order, for which it waits."""
        self.forget()

    def forget(self) -> None:
        """The peaks so far; the others forget theirs with the next order."""
        self.peaks: list[float | None] = [None] * self.count
        self.forget_peaks = True

    def tell(self, name: str, *arguments: Any) -> None:
        """Rank 0's order to all others."""
        order = [(name, arguments, self.forget_peaks)]
        with lost():
            distributed.broadcast_object_list(order, src=0, group=self.group)
        self.forget_peaks = False

    def listen(self) -> tuple[str, tuple[Any, ...]]:
        order: list[Any] = [None]
        with lost():
            distributed.broadcast_object_list(order, src=0, group=self.group)
        name, arguments, forget = order[0]
        if forget and self.memory is not None:
            self.memory.reset()
        return name, arguments

    def answers(self, own: Any) -> list[Any]:
        """Of all ranks, on rank 0; on the others nothing. Peaks of memory come with them."""
        memory = (None, None) if self.memory is None else (self.memory.peak_gib(), self.memory.current_gib())
        found: list[Any] | None = [None] * self.count if self.rank == 0 else None
        with lost():
            distributed.gather_object((own, memory), found, dst=0, group=self.group)
        if found is None:
            return []
        known = zip(self.peaks, (peak for _, (peak, _) in found), strict=True)
        self.peaks = [max((peak for peak in pair if peak is not None), default=None) for pair in known]
        self.held = [current for _, (_, current) in found]
        return [answer for answer, _ in found]

    def share(self, value: Any) -> list[Any]:
        """Everyone's value, on every rank."""
        found: list[Any] = [None] * self.count
        with lost():
            distributed.all_gather_object(found, value, group=self.group)
        return found

    def topic(self) -> str:
        """A name under which nothing was posted yet."""
        self._topics += 1
        return f"topic-{self._topics}"

    def post(self, topic: str, number: int, value: Any) -> None:
        """Leave something that rank 0 reads when it has time (`posted`): as JSON, since over several nodes whoever
        reaches the store's port can write into it."""
        self.store.set(f"{topic}/{self.rank}/{number}", json.dumps(value))

    def posted(self, topic: str, rank: int, number: int) -> Any | None:
        key = f"{topic}/{rank}/{number}"
        return json.loads(self.store.get(key)) if self.store.check([key]) else None

    def fail(self, reason: str) -> None:
        """Leave word of why this rank ends."""
        self.store.set(FAILED, f"rank {self.rank}: {reason}")

    def check_failure(self) -> None:
        """Raises RankLost: a rank has left word."""
        if self.store.check([FAILED]):
            raise RankLost(self.store.get(FAILED).decode())


@contextmanager
def lost() -> Iterator[None]:
    """A broken connection is named as what it is."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        text = " ".join(str(error).split())[:200]
        raise RankLost(f"another rank of the run has ended or does not answer ({text}); see the run's log") from error


class RankedMemory(Memory):
    """The largest peak of all ranks, each of which measures its own device; those of the others come with their
    answers, so that none is waited for."""

    def __init__(self, own: Memory, peers: Peers) -> None:
        self.own, self.peers, self.method = own, peers, own.method

    def reset(self) -> None:
        self.own.reset()
        self.peers.forget()

    def peak_gib(self) -> float | None:
        return max((peak for peak in self._peaks() if peak is not None), default=None)

    def peak_all_gib(self) -> float | None:
        peaks = self._peaks()
        known = [peak for peak in peaks if peak is not None]
        return sum(known) if len(known) == len(peaks) else None

    def _peaks(self) -> list[float | None]:
        """Of a rank that was asked nothing since the reset what it holds while it waits."""
        asked = zip(self.peers.peaks[1:], self.peers.held[1:], strict=True)
        return [self.own.peak_gib(), *(held if peak is None else peak for peak, held in asked)]

    def peak_reserved_gib(self) -> float | None:
        return self.own.peak_reserved_gib()

    def current_gib(self) -> float | None:
        return self.own.current_gib()


def local_ranks() -> int:
    """Ranks on this machine, this one included."""
    return 1 if _met is None else int(os.environ.get("LOCAL_WORLD_SIZE", _met.count))


def check_same_model(peers: Peers, model: nn.Module) -> None:
    """Ranks must start from the same values, adapters and quantised weights included.

    Raises:
        RunError: they do not.
    """

    values = peers.share(checksum(model.state_dict()))
    odd = ", ".join(str(rank) for rank, value in enumerate(values) if value != values[0])
    if odd:
        rule = "the model's files must be the same everywhere"
        raise RunError(f"ranks start from different weights (rank {odd} from others than rank 0); {rule}")


def checksum(tensors: dict[str, Tensor]) -> str:
    """Of every bit, by sums of whole numbers a tensor: the same on every device, and cheap on a GPU."""
    digest = hashlib.sha256()
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    for name in sorted(tensors):
        value = tensors[name].detach()
        bits = value.reshape(-1).contiguous().view(kinds[value.element_size()])
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} {int(bits.sum(dtype=torch.int64))}".encode())
    return digest.hexdigest()
