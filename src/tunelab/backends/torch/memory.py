"""Peaks of a GPU's memory; a CPU's are the process's own (training/telemetry.py)."""

from __future__ import annotations

import torch

from tunelab import device
from tunelab.backend_contract import Memory
from tunelab.training.telemetry import ResidentMemory

GIB = 1024**3


class CudaMemory(Memory):
    """What torch's CUDA allocator has handed out."""

    method = "cuda-allocator"

    def reset(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float:
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / GIB

    def peak_reserved_gib(self) -> float:
        return torch.cuda.max_memory_reserved() / GIB

    def current_gib(self) -> float:
        return torch.cuda.memory_allocated() / GIB


def own_memory() -> Memory:
    """Of this process on the chosen device."""
    return CudaMemory() if device.on_gpu() else ResidentMemory()
