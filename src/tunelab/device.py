"""The device that PyTorch computes on: chosen in one function, and what follows from the choice is asked here.

torch is imported inside the functions, so that what scores text alone can name a device too.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
DRIVERS = (*map(Path, ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap", "/dev/dxg", "/dev/kfd")),)
"""Of NVIDIA's GPUs, also on boards of its own (Jetson), of Windows' for Linux within it, and of AMD's."""
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""How torch's allocators say it where it has no exception of its own."""


def num_cores() -> int:
    """Of the processor; those that this process may use. macOS does not tell, and has all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen() -> torch.device:
    """A CUDA GPU where torch sees one, else the CPU. Call it as `device.chosen()`: tests replace it."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def name(device: torch.device) -> str:
    """'cpu' or the GPU's name."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def all_names() -> list[str]:
    """Of every GPU of the chosen kind; empty on a CPU."""
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if on_gpu() else []


def all_uuids() -> list[str]:
    """The same as their driver names them, whatever CUDA_VISIBLE_DEVICES leaves of them: 'GPU-5fd2...'."""
    import torch

    gpus = range(number())
    return [f"GPU-{torch.cuda.get_device_properties(gpu).uuid}" for gpu in gpus]  # pyright: ignore[reportAttributeAccessIssue]


def number() -> int:
    """Of GPUs of the chosen kind; nothing is started on them."""
    import torch

    return torch.cuda.device_count() if on_gpu() else 0


def cpu_bytes() -> int:
    """Memory that this process may have: the machine's, or its control group's where that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in LIMITS:
        with suppress(OSError, ValueError):  # none, or 'max'
            found.append(int(file.read_text()))
    return min(found)


def gpu_bytes() -> int | None:
    """Memory of the chosen GPU; None: there is none."""
    if not on_gpu():
        return None
    import torch

    return torch.cuda.get_device_properties(0).total_memory


def on_gpu() -> bool:
    """Where no driver shows a GPU, torch is not imported to say so."""
    if "torch" not in sys.modules and sys.platform == "linux" and not any(map(Path.exists, DRIVERS)):
        return False
    return chosen().type == "cuda"


def has_bf16(device: torch.device) -> bool:
    """From flags alone: a GPU of compute capability 8 or more, or a CPU with bf16 dot products."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_capability(device)[0] >= 8
    return cpu_has_bf16()


def cpu_has_bf16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def release(device: torch.device) -> None:
    """Give memory that is kept for later allocations back to the device: torch's of a GPU, glibc's of a CPU."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def processor() -> str:
    """Its model."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cache_bytes() -> int | None:
    """Of the first processor's largest cache; None: the machine does not say."""
    sizes = [file.read_text().strip() for file in CACHES.glob("index*/size")] if CACHES.exists() else []
    return max((int(size[:-1]) * UNITS[size[-1]] for size in sizes if size[-1:] in UNITS), default=None)


def out_of_memory(error: BaseException) -> bool:
    import torch

    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(text in str(error) for text in OUT_OF_MEMORY)


def fits(work: Callable[[], None], *, on: torch.device) -> bool:
    """False where memory ran out. What the failed work held is free again when this has returned: an error keeps all
    that its frames know, so it must be gone first."""
    if _done(work):
        return True
    gc.collect()
    release(on)
    return False


def _done(work: Callable[[], None]) -> bool:
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return False
    return True
