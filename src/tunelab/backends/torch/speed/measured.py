"""Rates of this machine's products and copies, as runs compute them.

A sample is some milliseconds of the same product; all shapes take turns, round after round, and the best sample counts.
On a CPU its time is the processor time of the calling thread, which has its share of every product: with other work on
the machine the clock tells of that work, up to the last sample. How much longer the clock ran is told beside it.
"""
# N rows, I inputs, O outputs

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.nn import functional

from tunelab import device
from tunelab.backends.torch.products import medium_is_exact
from tunelab.backends.torch.speed.calibration import ProductRate
from tunelab.computation.effort import Shape
from tunelab.config.schema import Products

DTYPES: dict[Products, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SAMPLE_SECONDS = 0.002
"""At least; a call that takes longer is a sample by itself."""
LEAST_ROUNDS, MOST_ROUNDS = 3, 20
COPIED_BYTES = 128 * 2**20
"""At least: what fits into no cache."""
CACHES = 4
"""A copy is so many times as large as the largest cache."""


class Sampled(NamedTuple):
    products: tuple[ProductRate, ...]
    slower: float
    """How many times as long the clock ran, of all samples: 1.0 on an idle machine."""


class Sample(NamedTuple):
    """Of one call."""

    seconds: float
    clock: float


def own_dtypes() -> tuple[Products, ...]:
    """What runs compute in on the chosen device, in hardware."""
    place = device.chosen()
    if device.has_bf16(place):
        return ("fp32", "bf16")
    return ("fp32", "fp16") if place.type == "cuda" else ("fp32",)


def products(wanted: Sequence[tuple[Shape, Products]], *, threads: int, seconds: float) -> Sampled:
    """
    Args:
        seconds: after so many no round is begun, but for the first ones.
    """
    place = device.chosen()
    with torch.inference_mode(), as_runs_compute(place, threads):
        works = [_product(shape, dtype, place) for shape, dtype in wanted]
        calls = [calls_of(work, place) for work in works]
        samples: list[list[Sample]] = [[] for _ in works]
        ends = time.perf_counter() + seconds
        for number in range(MOST_ROUNDS):
            if number >= LEAST_ROUNDS and time.perf_counter() > ends:
                break
            for found, work, count in zip(samples, works, calls, strict=True):
                found.append(sample(work, count, place))
    found = [
        ProductRate(shape=shape, dtype=dtype, flops_per_second=shape.flops / min(taken).seconds)
        for (shape, dtype), taken in zip(wanted, samples, strict=True)
    ]
    slower = [statistics.median(each.clock for each in taken) / min(taken).seconds for taken in samples]
    return Sampled(tuple(found), statistics.median(slower) if slower else 1.0)


def copied_bytes_per_second(*, threads: int) -> float:
    """Bytes read and bytes written of one large tensor's copy, together."""
    place = device.chosen()
    size = max(COPIED_BYTES, CACHES * (device.cache_bytes() or 0))
    with torch.inference_mode(), as_runs_compute(place, threads):
        source, target = (torch.ones(size // 4, device=place) for _ in range(2))
        best = min(sample(lambda: target.copy_(source), 1, place) for _ in range(LEAST_ROUNDS + 2))
    return 2 * size / best.seconds


def _product(shape: Shape, dtype: Products, place: torch.device) -> Callable[[], object]:
    """As a linear layer computes it."""
    drawn = torch.Generator(place).manual_seed(0)  # a run's own draws stay as they are
    rows, inputs, outputs, batch = shape
    x_BNI = torch.randn(batch, rows, inputs, device=place, generator=drawn).to(DTYPES[dtype])
    w_BOI = torch.randn(batch, outputs, inputs, device=place, generator=drawn).to(DTYPES[dtype])
    if batch > 1:
        return lambda: torch.bmm(x_BNI, w_BOI.transpose(1, 2))
    return lambda: functional.linear(x_BNI[0], w_BOI[0])


def calls_of(work: Callable[[], object], place: torch.device) -> int:
    """Of a sample; the first one of all chooses kernels and is forgotten."""
    sample(work, 1, place)
    return max(1, round(SAMPLE_SECONDS / sample(work, 1, place).seconds))


def sample(work: Callable[[], object], calls: int, place: torch.device) -> Sample:
    _wait(place)
    began, computed = time.perf_counter(), time.thread_time()
    for _ in range(calls):
        work()
    _wait(place)
    clock, computed = time.perf_counter() - began, time.thread_time() - computed
    seconds = clock if place.type == "cuda" else min(computed, clock)
    return Sample(seconds / calls, clock / calls)


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


@contextmanager
def as_runs_compute(place: torch.device, threads: int) -> Iterator[None]:
    """Threads and the setting of fp32 products as backends/torch/loading.py chooses them."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    if place.type == "cpu" and medium_is_exact():
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
