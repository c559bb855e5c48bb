"""A GPU's peaks, as torch's allocator tells them: what was handed out, what was held, and when both are forgotten."""

import pytest
import torch

from tunelab.backends.torch.memory import CudaMemory
from tunelab.training.telemetry import Meter

GIB = 1024**3


class Allocator:
    """Stands in torch.cuda's place: work that is still going on counts when somebody waits for it."""

    def __init__(self) -> None:
        self.used = self.peak = self.held = 0.0
        self.running: list[float] = []

    def use(self, gib: float) -> None:
        self.running.append(gib)

    def synchronize(self) -> None:
        for gib in self.running:
            self.used, self.peak, self.held = gib, max(self.peak, gib), max(self.held, 2 * gib)
        self.running = []

    def reset_peak_memory_stats(self) -> None:
        self.peak, self.held = self.used, 2 * self.used


@pytest.fixture
def allocator(monkeypatch) -> Allocator:
    made = Allocator()
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, getattr(made, name))
    told = {"max_memory_allocated": "peak", "max_memory_reserved": "held", "memory_allocated": "used"}
    for name, kind in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda kind=kind: int(getattr(made, kind) * GIB))
    return made


def test_each_phase_has_its_own_peaks_with_what_was_still_computed_at_its_end(allocator):
    meter = Meter(CudaMemory())
    with meter.phase("load"):
        allocator.use(9.0)
        allocator.use(1.0)
    with meter.phase("train"):
        allocator.use(4.0)
        allocator.use(1.0)
        with meter.phase("validate"):
            allocator.use(6.0)
            allocator.use(1.0)
        allocator.use(3.0)
    peaks = {name: (cost.peak_gib, cost.peak_reserved_gib) for name, cost in meter.costs().items()}
    assert peaks == {"load": (9.0, 18.0), "train": (4.0, 8.0), "validate": (6.0, 12.0)}
    assert {cost.peak_method for cost in meter.costs().values()} == {"cuda-allocator"}
    assert CudaMemory().current_gib() == 3.0
