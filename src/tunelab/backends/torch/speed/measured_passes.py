"""Rates of this machine's operations over numbers, one by one, and what a call costs on next to none."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab import device
from tunelab.backends.torch.speed.calibration import PassRate
from tunelab.backends.torch.speed.measured import DTYPES, as_runs_compute, calls_of, own_dtypes, sample
from tunelab.computation.effort import Function
from tunelab.config.schema import Products
from tunelab.entries import MIB
from tunelab.models.bitsandbytes_import import import_bitsandbytes

MOVED = (MIB // 16, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB)
"""Bytes that are read and written by the operations which are timed."""
ROUND = 64 * MIB
"""What is gone through before the same numbers are met again, as in a step: of numbers that a processor's inner caches
still hold it reads four times as many a second."""
FUNCTIONS_AT = 2 * MIB
WIDTH = 512
"""Numbers over which a softmax or a norm goes."""
ROUNDS = 5
LAYERS, MODULES, OPERATIONS = 20, 4, 18
"""Small blocks whose calls are timed, and what a trace counts of the forward and backward of one."""
MIXED = 14
"""Operations that a trace counts of `mixed`."""

FUNCTIONS: dict[Function, Callable[[Tensor, Tensor], object]] = {
    "silu": lambda x, out: F.silu(x),
    "gelu": lambda x, out: F.gelu(x, approximate="tanh"),
    "exp": lambda x, out: torch.exp(x, out=out),
    "softmax": lambda x, out: torch.softmax(x, -1, out=out),
    "norm": lambda x, out: F.layer_norm(x, (WIDTH,)),
    "draw": lambda x, out: out.uniform_(),
}


def passes(*, threads: int) -> tuple[PassRate, ...]:
    place = device.chosen()
    found: list[PassRate] = []
    with torch.inference_mode(), as_runs_compute(place, threads):
        for size in MOVED:
            numbers = itertools.cycle(
                [torch.ones(3, size // 12, device=place).unbind() for _ in range(max(1, ROUND // size))]
            )
            found.append(_rate("move", "fp32", size, lambda numbers=numbers: _multiply(*next(numbers)), place))
        for dtype in own_dtypes():
            numbers = FUNCTIONS_AT // 2 // DTYPES[dtype].itemsize
            x = torch.linspace(-3, 3, numbers, device=place).to(DTYPES[dtype]).view(-1, WIDTH)
            out = torch.empty_like(x)
            for name, function in FUNCTIONS.items():
                found.append(_rate(name, dtype, FUNCTIONS_AT, lambda run=function, x=x, out=out: run(x, out), place))
            other = torch.empty_like(x, dtype=torch.bfloat16 if dtype == "fp32" else torch.float32)
            size = x.nbytes + other.nbytes
            found.append(_rate("cast", dtype, size, lambda x=x, other=other: other.copy_(x), place))
        if (quantise := _quantiser(place)) is not None:
            x = torch.linspace(-3, 3, FUNCTIONS_AT // 4, device=place)
            found.append(_rate("quantise", "fp32", 5 * x.numel(), lambda x=x: quantise(x), place))
    return tuple(found)


def _multiply(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    return torch.mul(x, y, out=out)


def _quantiser(place: torch.device) -> Callable[[Tensor], object] | None:
    """To 8 bits, in blocks of 256 numbers; None: bitsandbytes is not here, or does not do it on that device."""
    try:
        import_bitsandbytes()
        from bitsandbytes import functional

        codes = functional.create_dynamic_map().to(place)
        functional.quantize_blockwise(torch.ones(256, device=place), codes, blocksize=256)
    except Exception:  # whatever a library that does not load may raise
        return None
    return lambda x: functional.quantize_blockwise(x, codes, blocksize=256)


def _rate(
    function: Function, dtype: Products, num_bytes: int, work: Callable[[], object], place: torch.device
) -> PassRate:
    rate = num_bytes / _best(work, place)
    return PassRate(function=function, dtype=dtype, num_bytes=num_bytes, bytes_per_second=rate)


def calls(*, threads: int) -> dict[str, float]:
    """Of operations and of layers on so few numbers that only their calls take time; as fields of a Calibration. The
    graph of a backward pass is gone through by the calling thread on a CPU."""
    place = device.chosen()
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), as_runs_compute(place, threads):
        blocks = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(LAYERS)]
        model = nn.Sequential(*blocks).to(place)
        x, small = torch.ones(2, 8, device=place), [torch.ones(2, 4, 4, device=place) for _ in range(LAYERS)]

        def operations() -> None:
            with torch.no_grad():
                for each in small:
                    mixed(each)

        def layers() -> None:
            with torch.enable_grad():
                model(x).sum().backward()
            model.zero_grad(set_to_none=True)

        one, all_of = (_best(work, place) for work in (operations, layers))
    operation = one / (MIXED * LAYERS)
    return {
        "operation_seconds": operation,
        "module_seconds": max(0.0, all_of - OPERATIONS * LAYERS * operation) / (MODULES * LAYERS),
    }


def mixed(x_NTT: Tensor) -> Tensor:
    """Operations as attention over rows of several texts makes them: parts taken and put, products, a softmax."""
    taken_NTT = x_NTT.new_empty(x_NTT.shape)
    taken_NTT[:, :2] = x_NTT[:, 2:].transpose(0, 1).transpose(0, 1)
    taken_NTT[:, 2:] = 0.0
    scores_NTT = torch.bmm(taken_NTT, x_NTT.transpose(1, 2)).mul_(0.5)
    return torch.softmax(scores_NTT, dim=-1, out=scores_NTT).add(x_NTT)


def _best(work: Callable[[], object], place: torch.device) -> float:
    count = calls_of(work, place)
    return min(sample(work, count, place).seconds for _ in range(ROUNDS))
