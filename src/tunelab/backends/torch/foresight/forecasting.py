"""The forecast of a run: its trace, and what no trace of operations can see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from tunelab.backends.torch.foresight.live import STATE
from tunelab.backends.torch.foresight.predict import efforts, highest, traced
from tunelab.backends.torch.paths import FAILURES
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.entries import HOLES, MIB, PROCESS, Forecast, Parts
from tunelab.models.load import read_configuration
from tunelab.records import Batch, RowSize, TokenRow

LIBRARIES = 400 * MIB
"""A worker's own before it has a model: Python, torch, transformers, the tokenizer; measured with the CPU's wheel of
torch 2.13 on x86-64. The CUDA context of a process (0.3 to 0.6 GiB, outside of torch's allocator) is not counted."""
FIRST_USE = {"fp32": 22 * MIB, "bf16": 36 * MIB, "fp16": 36 * MIB}
"""What a CPU's libraries add with their first products: threads, scratch, compiled kernels. fp16 was not measured."""
PREPARED = 110 * MIB
"""What is read and imported between loading and the first step, on a CPU: data and its libraries."""


def forecast(run: RunConfig, method: Method | None, rows: Sequence[RowSize], *, on_gpu: bool) -> Forecast | None:
    """None: the configuration is not here, or the method's layers cannot be made without weights."""
    configuration = read_configuration(run.model)
    if configuration is None:
        return None
    batch = batch_of(rows)
    try:
        with _one_thread():
            found = [traced(run, each, configuration, batch, on_gpu=on_gpu) for each in _parts(method)]
    except (*FAILURES, ImportError):  # a model's or a tuner's own code that asks tensors for numbers
        return None
    process: Parts = {} if on_gpu else {PROCESS: LIBRARIES}
    busy: Parts = {} if on_gpu else {PROCESS: LIBRARIES + PREPARED + FIRST_USE[run.precision]}
    first = found[0]
    trained = max((highest(each.moments) for each in found), key=lambda parts: sum(parts.values()))
    losses = highest(found[-1].losses)
    saved = {**first.weights, **({STATE: first.state} if first.state else {})}
    if not on_gpu:
        losses, saved = _still_held(losses, trained), _still_held(saved, trained)
    return Forecast(
        device="cuda" if on_gpu else "cpu",
        load={**process, **first.weights},
        train={**busy, **trained},
        evaluate={**busy, **losses},
        save={**busy, **saved},
        efforts=tuple(efforts(each, tuple(rows)) for each in found),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """There is nothing to compute, and a fork must not wait for threads that it has not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _parts(method: Method | None) -> list[Method | None]:
    """Methods that are attached one after the other, each alone; else the method itself."""
    if method is not None and method.members and type(method).enter is not Method.enter:
        return list(method.members)
    return [method]


def _still_held(parts: Parts, trained: Parts) -> Parts:
    """After training, of which glibc's heap gives little back to the system."""
    more = sum(trained.values()) - sum(parts.values())
    return {**parts, HOLES: more} if more > 0 else parts


def batch_of(rows: Sequence[RowSize]) -> Batch:
    """Of numbers that mean nothing."""
    return Batch(tuple(_row(place, *row) for place, row in enumerate(rows)))


def _row(place: int, num_tokens: int, num_supervised: int, num_source: int) -> TokenRow:
    supervised = np.zeros(num_tokens, dtype=bool)
    supervised[num_tokens - num_supervised :] = True
    source = np.ones(num_source, np.int32) if num_source else None
    return TokenRow(place, np.ones(num_tokens, np.int32), supervised, source)
