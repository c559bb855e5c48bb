"""One session over several ranks: rank 0's tells the others what it is asked, and every rank does its share.

The loop, the records and all decisions are rank 0's. Every rank holds a TorchSession of its own over the same model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunelab.backend_contract import Session
from tunelab.backends.torch.generation import ends_of_length
from tunelab.backends.torch.ranks.peers import Peers, lost
from tunelab.backends.torch.ranks.share import Gathered, Share, Texts
from tunelab.backends.torch.session import TorchSession
from tunelab.config.schema import Generation
from tunelab.data.tokens.batching import shares
from tunelab.errors import OutOfMemory, RunError
from tunelab.records import Batch, Decoded, ParameterCount, TokenLoss
from tunelab.training import ranks

if TYPE_CHECKING:
    from tunelab.backend_contract import Order

WINDOW = 32
"""Micro-batches a rank that are evaluated at a time: so many are sent at once."""


class RankedSession(Session):
    """Rank 0's."""

    def __init__(self, local: TorchSession, peers: Peers) -> None:
        self.local, self.peers, self.share = local, peers, Share(local, peers)
        self.num_ranks = peers.count

    def _all(self, name: str, *arguments: Any, own: tuple[Any, ...] = ()) -> Any:
        """Done by every rank; `own`: what rank 0 does it with beside."""
        self.peers.busy = True
        self.peers.tell(name, *arguments)
        with lost():
            found = self.share(name, *arguments, *own)
        self.peers.busy = False
        return found

    @property
    def model(self) -> Any:
        return self.local.model

    @property
    def notes(self) -> list[str]:
        return self.local.notes

    # -------------------------------------------------------------- training

    @property
    def part(self) -> int:
        return self.local.part

    def part_at(self, number: int, num_steps: int) -> int:
        return self.local.part_at(number, num_steps)

    def enter(self, part: int, order: Order, *, resumed: bool = False) -> None:
        raise RunError("a method of several parts trains on one device")  # refused while planning: Method.parallel

    def rate(self) -> float:
        return self.local.rate()

    def restart(self) -> None:
        self._all("restart")

    @contextmanager
    def alone(self) -> Iterator[Session]:
        method = self.local.method
        with ranks.alone():
            yield self.local
        if method is not None and method.prepares:
            self._all("take_over")

    def accumulate(self, batch: Batch, *, denominator: float, last: bool) -> float:
        raise RunError("ranks are given the whole step: accumulate_shares")

    def accumulate_shares(
        self, shares: Sequence[Sequence[Batch]], *, denominator: int, key: tuple[int, ...], rank: int = 0
    ) -> float:
        found = self._all("accumulate", [list(share) for share in shares], denominator, key)
        if None in found:
            raise OutOfMemory("memory ran out on a rank while a step was computed")
        return math.fsum(found)

    def wants_look(self, *, num_batches: int) -> bool:
        return self.local.wants_look(num_batches=num_batches)

    @contextmanager
    def look(self) -> Iterator[None]:
        self._all("begin_look")
        try:
            yield
        except OutOfMemory:
            self._all("break_off_look")
            raise
        self._all("end_look")

    @property
    def loss_scale(self) -> float | None:
        return self.local.loss_scale

    @property
    def most_tokens(self) -> int | None:
        return self.local.most_tokens

    @most_tokens.setter
    def most_tokens(self, value: int | None) -> None:
        self.local.most_tokens = value

    def gradient_norm(self) -> float:
        return self._all("gradient_norm")

    def forget(self) -> None:
        self._all("forget")

    def skip(self) -> None:
        self._all("skip")

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        self._all("update", learning_rate, max_norm)

    def seed(self, *key: int) -> None:
        self.local.seed(*key)

    def optimizer(self) -> list[dict[str, Any]]:
        return self.local.optimizer()

    # -------------------------------------------------------------- evaluation

    @property
    def pads(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.local.pads

    def verify(self, batch: Batch) -> None:
        self._all("verify", batch)

    def evaluate(self, batches: Iterable[Batch]) -> list[TokenLoss]:
        sums: dict[int, TokenLoss] = {}
        waiting = iter(batches)
        while window := list(islice(waiting, WINDOW * self.num_ranks)):
            cut = shares([batch.num_tokens for batch in window], self.num_ranks)
            for found in self._all("losses", [[window[place] for place in own] for own in cut]):
                for example, loss in found.items():
                    known = sums.get(example, TokenLoss(0.0, 0))
                    sums[example] = TokenLoss(known.loss_sum + loss.loss_sum, known.num_tokens + loss.num_tokens)
        return [sums[example] for example in sorted(sums)]

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        examples = range(len(prompts)) if examples is None else examples
        places = shares([len(ids) + settings.max_new_tokens for ids in prompts], self.num_ranks)
        cut = [Texts([prompts[each] for each in own], [examples[each] for each in own], own) for own in places]
        gathered = Gathered(self.peers, self.peers.topic(), cut, progress)
        known = ends_of_length(prompts)
        for notes in self._all("generate", gathered.topic, cut, known, settings, own=(gathered,))[1:]:
            self.notes.extend(note for note in notes if note not in self.notes)
        return [gathered.texts[place] for place in range(len(prompts))]

    def plain_model(self) -> Any:
        return self._all("plain_model") if self.local.sharded else self.local.plain_model()

    # -------------------------------------------------------------- state

    def save(self, folder: Path) -> None:
        if self.local.sharded:
            self._all("save", folder)
        else:
            self.local.save(folder)
            self._all("idle")

    def load(self, folder: Path) -> None:
        self._all("load", folder)

    def write_model(self, folder: Path) -> float:
        if self.local.sharded:
            return self._all("write_model", folder)
        size = self.local.write_model(folder)
        self._all("idle")
        return size

    def read_model(self, folder: Path) -> None:
        self._all("read_model", folder)

    def parameters(self) -> ParameterCount:
        return self.local.parameters()


def behind(local: TorchSession, peers: Peers) -> RankedSession:
    """Rank 0's session; its own device is named in the notes with the others."""
    peers.answers(None)
    peers.busy = False
    run = local.run
    nodes = f" ({run.ranks.nodes} nodes)" if run.ranks.nodes > 1 else ""
    how = ", weights, gradients and optimizer state cut over them" if local.sharded else ""
    did = "evaluated" if local.method is None else "trained"
    notes: list[str] = local.notes
    notes.append(f"{did} on {peers.count} devices{nodes}{how}")
    return RankedSession(local, peers)
