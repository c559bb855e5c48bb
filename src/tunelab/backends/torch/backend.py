"""The PyTorch back end as the catalogue finds it. torch is imported where it is needed, as the contract asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

from tunelab import device
from tunelab.backend_contract import Backend, Memory, Session
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource, Precision, Products
from tunelab.contracts import Method
from tunelab.entries import Device, Forecast
from tunelab.records import Limits, Located, ParameterCount, RowSize, TextSide

BYTES_OF_TOKEN = 32 * 1024
CACHE_BYTES = 32 * 1024**2
"""Where the machine does not say."""
LEAST_TOKENS = 256


@final
class TorchHf(Backend):
    parallel = True
    forks = True
    precisions = ("fp32", "bf16", "fp16")

    def resolve(self, *, precision: Precision, threads: int | None) -> tuple[Products, int]:
        if precision == "auto":
            on_gpu = device.on_gpu()
            has_bf16 = device.has_bf16(device.chosen()) if on_gpu else device.cpu_has_bf16()
            precision = "bf16" if has_bf16 else "fp16" if on_gpu else "fp32"
        return precision, threads or device.num_cores()

    def max_tokens(self) -> int:
        """On a CPU as many as have 32 KiB of its cache each: about what a layer's widest product takes, in and out."""
        if device.on_gpu():
            return 4096
        held = (device.cache_bytes() or CACHE_BYTES) // BYTES_OF_TOKEN
        return min(max(held, LEAST_TOKENS), 4096)

    def warm(self, model: ModelSource) -> None:
        from tunelab.backends.torch.loading import warm

        warm(model)

    def count(self, model: ModelSource, method: Method | None) -> ParameterCount | None:
        from tunelab.backends.torch.loading import count

        return count(model, method)

    def foresee(self, run: RunConfig, method: Method, rows: Sequence[RowSize], *, on: Device) -> Forecast | None:
        from tunelab.backends.torch.foresight.forecasting import forecast

        return forecast(run, method, rows, on_gpu=on == "cuda")

    def limits(self, model: ModelSource) -> tuple[Limits, int | None] | None:
        from tunelab.backends.torch.loading import limits

        return limits(model)

    def locate(self, model: ModelSource) -> Located:
        from tunelab.models.load import locate

        return locate(model)

    def text(self, model: ModelSource, located: Located) -> TextSide:
        from tunelab.models.load import load_text

        return load_text(model, located)

    def memory(self) -> Memory:
        from tunelab.backends.torch.memory import own_memory
        from tunelab.backends.torch.ranks.peers import RankedMemory, met

        peers = met()
        return own_memory() if peers is None else RankedMemory(own_memory(), peers)

    def device(self) -> str:
        return device.name(device.chosen())

    def num_gpus(self) -> int:
        return len(device.all_names())

    def session(
        self, run: RunConfig, method: Method | None, *, located: Located, text: TextSide, notes: list[str]
    ) -> Session:
        from tunelab.backends.torch.loading import open_session
        from tunelab.backends.torch.ranks.peers import OPEN, met
        from tunelab.backends.torch.ranks.ranked import behind

        peers = met()
        if peers is None:
            return open_session(run, method, located=located, text=text, notes=notes)
        peers.busy = True
        peers.tell(OPEN)
        return behind(open_session(run, method, located=located, text=text, notes=notes), peers)

    @contextmanager
    def joined(self, run: RunConfig) -> Iterator[int]:
        from tunelab.backends.torch.ranks.peers import joined

        with joined(run) as rank:
            yield rank

    def serve(self, run: RunConfig, method: Method | None) -> None:
        from tunelab.backends.torch.loading import open_session
        from tunelab.backends.torch.memory import own_memory
        from tunelab.backends.torch.ranks.peers import END, met
        from tunelab.backends.torch.ranks.share import serve

        peers = met()
        assert peers is not None, "served outside of joined()"
        peers.memory = own_memory()
        if peers.listen()[0] == END:  # before rank 0 had a model
            return
        located = self.locate(run.model)
        session = open_session(run, method, located=located, text=self.text(run.model, located), notes=[])
        peers.answers(None)
        serve(session, peers)
