"""NVML: NVIDIA's GPUs count their own energy since their driver was loaded (Volta and later), boards with memory.

Asked of the driver's library itself, as torch does it for UUIDs, so that no package is needed. Its functions and codes
are those of nvml.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tunelab.training.energy.counters import Counter

LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0


def nvml_counters(uuids: Sequence[str], *, library: Callable[[], Any] = lambda: ctypes.CDLL(LIBRARY)) -> list[Counter]:
    """One a GPU. Empty: there is no driver, or one of the GPUs does not count.

    Args:
        uuids: as the driver has them: 'GPU-...'. So it does not matter which of them CUDA_VISIBLE_DEVICES leaves,
            nor that CUDA and the driver may number them differently.
    """
    try:
        driver = library() if uuids else None
    except OSError:
        return []
    if driver is None or driver.nvmlInit_v2() != SUCCESS:
        return []
    counters = []
    for uuid in uuids:
        gpu = ctypes.c_void_p()
        if driver.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(gpu)) != SUCCESS:
            return []
        if _joules(driver, gpu) is None:
            return []
        counters.append(Counter(partial(_joules, driver, gpu)))
    return counters


def _joules(driver: Any, gpu: ctypes.c_void_p) -> float | None:
    millijoules = ctypes.c_ulonglong()
    done = driver.nvmlDeviceGetTotalEnergyConsumption(gpu, ctypes.byref(millijoules))
    return millijoules.value / 1000 if done == SUCCESS else None
