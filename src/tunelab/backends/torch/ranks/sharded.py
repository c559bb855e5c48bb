"""A session whose weights, gradients and optimizer state are cut over the ranks (torch's FSDP2, `fully_shard`).

Every pass is a collective: ranks go through the same number of micro-batches, a rank that has fewer through one more
whose loss counts nothing. Gradients are summed and cut after each micro-batch: a sum once a step would need every
device to hold all of them until then, which is what it must not. Evaluation runs on the cut model. What generates text
and what is written is the whole model, loaded again on every device with the trained values put in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from tunelab import device
from tunelab.backends.torch.session import TorchSession
from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation
from tunelab.contracts import Method
from tunelab.errors import RunError
from tunelab.records import Batch, Decoded, TokenLoss
from tunelab.training.optim import trained_parameters
from tunelab.training.ranks import put_whole, rank, whole


def cut_over_ranks(model: nn.Module, count: int) -> None:
    """In place; on a GPU a block is moved there and cut before the next, so that no device holds all of them."""
    mesh = init_device_mesh(device.chosen().type, (count,))
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # the loss is divided by the tokens of all ranks beforehand
            module.set_gradient_divide_factor(1.0)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists: transformer layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


class ShardedSession(TorchSession):
    sharded = True

    def __init__(
        self, model: Any, method: Method, run: RunConfig, tokenizer: Any, notes: list[str], *, load: Callable[[], Any]
    ) -> None:
        """`load` gives the model as it was before it was cut, method attached."""
        super().__init__(model, method, run, tokenizer, notes)
        self._load = load
        self._whole: TorchSession | None = None

    # -------------------------------------------------------------- passes that all ranks take together

    def verify(self, batch: Batch) -> None:
        super().verify(batch)
        self._cut_again()

    def compared_parameters(self) -> list[nn.Parameter]:
        """None: a gradient is only ever whole on its way to its ranks. Logits are compared."""
        return []

    def accumulate_shares(
        self, shares: Sequence[Sequence[Batch]], *, denominator: int, key: tuple[int, ...], rank: int = 0
    ) -> SupportsFloat:
        """Where memory runs out on one rank the others wait for it in a sum, and the run fails."""
        self._whole = None
        own, num_passes, filler = shares[rank], max(map(len, shares)), _smallest(shares)
        loss_sum: Any = 0.0
        for index in range(num_passes):
            self.seed(*key, rank, index)
            counts, last = index < len(own), index == num_passes - 1
            loss = self.accumulate(
                own[index] if counts else filler, denominator=denominator if counts else math.inf, last=last
            )
            loss_sum = loss_sum + (loss if counts else 0.0)
            self._cut_again()
        return loss_sum

    def losses_of_share(self, shares: Sequence[Sequence[Batch]], rank: int) -> dict[int, TokenLoss]:
        own, num_passes, filler = shares[rank], max(map(len, shares)), _smallest(shares)
        found = self.losses(own)
        if len(own) < num_passes:
            self.losses([filler] * (num_passes - len(own)))
        self._cut_again()
        return found

    def _cut_again(self) -> None:
        """Without a backward pass the outermost parameters stay whole, and would be read as they were."""
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    # -------------------------------------------------------------- the whole model

    def whole(self) -> TorchSession:
        """On every device, with the values of now; every rank must ask for it.

        Raises:
            RunError: a device has not the memory for it.
        """
        if self._whole is None:
            try:
                model = self._load()
            except (RuntimeError, MemoryError) as error:
                if not device.out_of_memory(error):
                    raise
                rule = "text is generated and the result is written from the whole model, which every device must hold"
                raise RunError(f"memory ran out while the whole model was loaded: {rule}") from None
            session = TorchSession(model, self.method, self.run, self.tokenizer, self.notes)
            session.take_way(self.way)
            cut = trained_parameters(self.model)
            with torch.no_grad():
                for name, parameter in trained_parameters(model).items():
                    parameter.copy_(whole(cut[name]))
            self._whole = session
        return self._whole

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        settings: Generation,
        *,
        progress: Callable[[Decoded], None],
        examples: Sequence[int] | None = None,
    ) -> list[list[int]]:
        return self.whole().generate(prompts, settings, progress=progress, examples=examples)

    def plain_model(self, prompts: Sequence[np.ndarray] = ()) -> Any:
        return self.whole().plain_model(prompts)

    def write_model(self, folder: Path) -> float:
        session = self.whole()
        return session.write_model(folder) if rank() == 0 else 0.0

    def read_model(self, folder: Path) -> None:
        session = self.whole()
        session.read_model(folder)
        read = trained_parameters(session.model)
        for name, parameter in trained_parameters(self.model).items():
            put_whole(parameter, read[name].detach())

    def load(self, folder: Path) -> None:
        self._whole = None
        super().load(folder)


def _smallest(shares: Iterable[Sequence[Batch]]) -> Batch:
    return min((batch for share in shares for batch in share), key=lambda batch: batch.num_tokens)
