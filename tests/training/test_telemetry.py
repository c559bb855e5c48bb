"""Phases pause each other, survive a restart, and their memory peaks are their own."""

import os
import time

import numpy as np
import pytest

from tunelab.training.telemetry import CLEAR_REFS, Meter, ResidentMemory

MIB = 1 / 1024


def can_clear() -> bool:
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


class Stepping:
    """A probe whose peak is set by the test."""

    method = "test"

    def __init__(self) -> None:
        self.value = 0.0

    def reset(self) -> None:
        self.value = 0.0

    def peak_gib(self) -> float:
        return self.value

    def current_gib(self) -> float:
        return self.value


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time of day, set by the test."""
    now = [100.0]
    monkeypatch.setattr("tunelab.training.telemetry.time.perf_counter", lambda: now[0])
    return now


def test_an_inner_phase_counts_in_no_outer_one(clock):
    memory = Stepping()
    meter = Meter(memory)
    with meter.phase("train"):
        memory.value = 1.0
        clock[0] += 3
        with meter.phase("validate"):
            memory.value = 9.0
            clock[0] += 50
        memory.value = 2.0
        clock[0] += 4
    costs = meter.costs()
    assert costs["train"].peak_gib == 2.0 and costs["validate"].peak_gib == 9.0
    assert costs["train"].seconds == 7 and costs["validate"].seconds == 50


def test_costs_of_an_interrupted_run_are_taken_up(clock):
    first = Meter(Stepping())
    with first.phase("train"):
        clock[0] += 5
        state = first.state()
        clock[0] += 100  # lost with the process
    second = Meter(Stepping())
    second.restore(state)
    with second.phase("train"):
        clock[0] += 2
    assert second.costs()["train"].seconds == 7


@pytest.mark.parametrize("method", ["vmhwm-reset", "sampled"])
def test_resident_peak_sees_a_phase_and_forgets_the_one_before(method, monkeypatch):
    if method == "sampled":
        monkeypatch.setattr(ResidentMemory, "_clear", lambda self: False)
    elif not can_clear():
        missing = pytest.fail if os.environ.get("TUNELAB_REQUIRE_ALL") == "1" else pytest.skip
        missing("/proc/self/clear_refs is not allowed here")
    memory = ResidentMemory()
    assert memory.method == method
    big = np.ones(80 * 2**20, dtype=np.uint8)
    time.sleep(0.1)
    high = memory.peak_gib()
    del big
    memory.reset()
    time.sleep(0.1)
    assert high - memory.peak_gib() > 60 * MIB
    assert memory.peak_gib() == pytest.approx(memory.current_gib(), abs=20 * MIB)
