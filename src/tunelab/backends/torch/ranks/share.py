"""What one rank does of what rank 0's session is asked, and how the others wait for it.

Every rank holds a TorchSession of its own over the same model; rank 0 has a share too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import distributed

from tunelab.backends.torch.ranks.peers import END, Peers, lost
from tunelab.backends.torch.session import TorchSession
from tunelab.config.schema import Generation
from tunelab.errors import OutOfMemory, RankLost
from tunelab.records import Batch, Decoded, TokenLoss

LISTEN_SECONDS = 0.05
"""Between two looks at what the other ranks have generated."""


class Texts(NamedTuple):
    """A rank's share of the prompts."""

    prompts: list[np.ndarray]
    examples: list[int]
    places: list[int]
    """Of each among all prompts."""


class Share:
    """What one rank does of what rank 0's session is asked; rank 0 has one too."""

    def __init__(self, local: TorchSession, peers: Peers) -> None:
        self.local, self.peers = local, peers
        self._look = ExitStack()
        self._notes_told = len(local.notes)

    def __call__(self, name: str, *arguments: Any) -> Any:
        return getattr(self, name)(*arguments)

    def restart(self) -> None:
        self.local.restart()

    def verify(self, batch: Batch) -> None:
        local = self.local
        local.verify(batch)
        local.take_way(self.peers.share(local.way)[0])
        self.idle()

    def idle(self) -> None:
        """Nothing but to say what memory was used while rank 0 worked alone."""
        self.peers.answers(None)

    def accumulate(self, cut: Sequence[Sequence[Batch]], denominator: int, key: tuple[int, ...]) -> list[float | None]:
        """None of a rank where memory ran out."""
        try:
            loss = self.local.accumulate_shares(cut, denominator=denominator, key=key, rank=self.peers.rank)
            own = float(loss)
        except OutOfMemory:
            own = None
        return self.peers.answers(own)

    def begin_look(self) -> None:
        self._look.enter_context(self.local.look())

    def end_look(self) -> None:
        self._look.close()

    def break_off_look(self) -> None:
        """Nothing is found by it."""
        with suppress(OutOfMemory), self._look:
            raise OutOfMemory("on a rank")

    def gradient_norm(self) -> float:
        return self.local.gradient_norm()

    def forget(self) -> None:
        self.local.forget()

    def skip(self) -> None:
        self.local.skip()

    def update(self, learning_rate: float, max_norm: float | None) -> None:
        self.local.update(learning_rate=learning_rate, max_norm=max_norm)

    def losses(self, cut: Sequence[Sequence[Batch]]) -> list[dict[int, TokenLoss]]:
        return self.peers.answers(self.local.losses_of_share(cut, self.peers.rank))

    def generate(
        self,
        topic: str,
        cut: Sequence[Texts],
        known: Sequence[np.ndarray],
        settings: Generation,
        gathered: Gathered | None = None,
    ) -> list[list[str]]:
        """Gives the notes of each rank. `known`: prompts on which every rank compares what it folds; `gathered`: rank
        0's."""
        rank, numbers = self.peers.rank, count()

        def progress(decoded: Decoded) -> None:
            if gathered is None:
                self.peers.post(topic, next(numbers), [list(decoded.texts.items()), decoded.num_tokens])
            else:
                gathered.tell(rank, decoded)
                gathered.fetch()

        self.local.plain_model(known)
        self.local.generate(cut[rank].prompts, settings, progress=progress, examples=cut[rank].examples)
        if gathered is not None:
            gathered.wait()
        return self.peers.answers(self._new_notes())

    def _new_notes(self) -> list[str]:
        new, self._notes_told = self.local.notes[self._notes_told :], len(self.local.notes)
        return new

    def load(self, folder: Path) -> None:
        self.local.load(folder)

    def read_model(self, folder: Path) -> None:
        self.local.read_model(folder)

    def save(self, folder: Path) -> None:
        self.local.save(folder)
        self.peers.answers(None)

    def write_model(self, folder: Path) -> float:
        size = self.local.write_model(folder)
        self.peers.answers(None)
        return size

    def plain_model(self) -> Any:
        return self.local.plain_model()

    def take_over(self) -> None:
        """What rank 0 has done alone: trained values, the method's state, the updater's."""
        if self.peers.rank == 0:
            tensors = self.local.tensors()
        else:
            self.local.restart()
            tensors = {}
        shapes = {
            part: {name: (value.shape, value.dtype, value.device.type) for name, value in values.items()}
            for part, values in tensors.items()
        }
        shapes = self.peers.share(shapes)[0]
        for part, values in shapes.items():
            own = tensors.setdefault(part, {})
            for name, (shape, dtype, place) in values.items():
                value = own[name].detach() if name in own else torch.empty(shape, dtype=dtype, device=place)
                own[name] = value = value.contiguous()
                distributed.broadcast(value, src=0)
        if self.peers.rank > 0:
            self.local.put_back(tensors)


class Gathered:
    """Texts of all ranks as they come: rank 0's at once, the others' whenever rank 0 has told of its own."""

    def __init__(self, peers: Peers, topic: str, cut: Sequence[Texts], progress: Callable[[Decoded], None]) -> None:
        self.peers, self.topic, self.cut, self.progress = peers, topic, cut, progress
        self.texts: dict[int, list[int]] = {}
        self._num_tokens = [0] * peers.count
        self._read = [0] * peers.count

    def tell(self, rank: int, decoded: Decoded) -> None:
        new = {self.cut[rank].places[number]: ids for number, ids in decoded.texts.items()}
        self.texts |= new
        self._num_tokens[rank] = decoded.num_tokens
        self.progress(Decoded(new, sum(self._num_tokens)))

    def fetch(self) -> None:
        """What was posted meanwhile."""
        for rank in range(1, self.peers.count):
            while (posted := self.peers.posted(self.topic, rank, self._read[rank])) is not None:
                self._read[rank] += 1
                texts, num_tokens = posted
                self.tell(rank, Decoded(dict(texts), num_tokens))

    def wait(self) -> None:
        """For the last of the others' texts."""
        wanted = sum(len(own.places) for own in self.cut)
        while self.fetch() or len(self.texts) < wanted:
            self.peers.check_failure()
            time.sleep(LISTEN_SECONDS)


def serve(local: TorchSession, peers: Peers) -> None:
    """On every rank but 0: do what is told, until the end."""
    share = Share(local, peers)
    while True:
        name, arguments = peers.listen()
        if name == END:
            return
        try:
            with lost():
                share(name, *arguments)
        except RankLost:
            raise
        except Exception as error:
            peers.fail(f"{type(error).__name__}: {error}")
            raise
