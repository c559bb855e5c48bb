"""What both sides are measured by: processor seconds a step, and resident memory as tunelab's own records have it."""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
import time
from typing import Any

from side_by_side.workloads import Workload

MIB_IN_GIB = 1024.0


class Clock:
    """Processor seconds of this process, all of its threads, at the end of every step."""

    def __init__(self) -> None:
        self.processor: list[float] = []
        self.wall: list[float] = []

    def mark(self) -> None:
        self.processor.append(time.process_time())
        self.wall.append(time.perf_counter())

    def between(self, first: int, last: int) -> dict[str, float]:
        """From the end of step `first` to the end of step `last`; step 0 ends where training begins."""
        return {
            "processor_seconds": self.processor[last] - self.processor[first],
            "wall_seconds": self.wall[last] - self.wall[first],
        }


def warm_libraries(precision: str) -> None:
    """Products and gradients of a small layer, so that the code of torch's libraries is in memory already."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layer = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64), torch.nn.GELU()).to(dtype)
    with torch.enable_grad():
        loss = layer(torch.ones(64, 64, dtype=dtype)).float().logsumexp(-1).sum()
        loss.backward()
    torch.optim.AdamW(layer.parameters(), lr=0.0).step()


def held_weights_mib() -> float:
    """Parameters and buffers of all models of this process, storages counted once. Each is read, so that what still
    lies in a mapped file counts as resident from here on, and what loading has freed is given back."""
    import torch

    modules = [found for found in gc.get_objects() if issubclass(type(found), torch.nn.Module)]
    sizes: dict[int, int] = {}
    for module in modules:
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            storage = tensor.untyped_storage()
            if storage.nbytes() and tensor.device.type == "cpu":
                sizes[storage.data_ptr()] = storage.nbytes()
                tensor.detach().sum()
    del modules
    give_back()
    return sum(sizes.values()) / 1024**2


def give_back() -> None:
    """What the allocator keeps of memory that is free already, back to the system: before a level is measured."""
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def import_model_code(workload: Workload) -> None:
    """What training imports on its way, before anything is measured: a library is not what a method holds."""
    import bitsandbytes  # noqa: F401
    import datasets  # noqa: F401
    import pandas  # noqa: F401

    kind = {"gemma3_text": "gemma3"}.get(workload.shape.type, workload.shape.type)
    importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "transformers", "peft", "trl", "bitsandbytes", "galore-torch", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def summary(
    clock: Clock, steps: list[dict[str, Any]], *, warm_up: int, before_gib: float, loaded_gib: float, peak_gib: float,
    weights_mib: float,
) -> dict[str, Any]:  # fmt: skip
    """What a side tells of its training. `steps`: loss, num_tokens and num_supervised_tokens of each."""
    steady = steps[warm_up:]
    return {
        "losses": [step["loss"] for step in steps],
        "num_steps": len(steps),
        "steady_steps": len(steady),
        "num_tokens": sum(step["num_tokens"] for step in steady),
        "num_supervised_tokens": sum(step["num_supervised_tokens"] for step in steady),
        **clock.between(warm_up, len(steps)),
        "first_step_processor_seconds": clock.between(0, 1)["processor_seconds"],
        "before_mib": before_gib * MIB_IN_GIB,
        "loaded_mib": (loaded_gib - before_gib) * MIB_IN_GIB,
        "weights_mib": weights_mib,
        "peak_above_weights_mib": (peak_gib - before_gib) * MIB_IN_GIB - weights_mib,
        "versions": versions(),
    }
