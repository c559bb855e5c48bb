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

    def peak_reserved_gib(self) -> float | None:
        return 2 * self.value

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


class HighWater(Stepping):
    """As a kernel's or an allocator's mark: it rises with what is used, and falls to that at a reset alone."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0.0

    def use(self, gib: float) -> None:
        self.used, self.value = gib, max(self.value, gib)

    def reset(self) -> None:
        self.value = self.used


def test_a_phase_has_the_highest_of_its_own_times_whatever_was_before_and_between(clock):
    """train is open three times: 5, then 2, then 3 GiB. What load, validation and saving take is not its own."""
    memory = HighWater()
    meter = Meter(memory)
    with meter.phase("load"):
        memory.use(9.0)
        memory.use(1.0)
    with meter.phase("train"):
        memory.use(5.0)
        memory.use(1.0)
        with meter.phase("validate"):
            memory.use(7.0)
            memory.use(2.0)
        with meter.phase("save"):
            memory.use(8.0)
            memory.use(1.0)
        memory.use(3.0)
    costs = meter.costs()
    assert {name: cost.peak_gib for name, cost in costs.items()} == {
        "load": 9.0, "train": 5.0, "validate": 7.0, "save": 8.0,
    }  # fmt: skip
    assert costs["train"].peak_reserved_gib == 10.0 and costs["save"].peak_reserved_gib == 16.0


def test_a_phase_that_ends_with_an_error_has_its_peak_and_the_outer_one_goes_on(clock):
    memory = HighWater()
    meter = Meter(memory)
    with meter.phase("train"):
        memory.use(2.0)
        with pytest.raises(ZeroDivisionError), meter.phase("save"):
            clock[0] += 5
            memory.use(6.0)
            raise ZeroDivisionError
        memory.use(1.0)
        clock[0] += 1
    costs = meter.costs()
    assert (costs["train"].seconds, costs["save"].seconds, costs["save"].peak_gib) == (1, 5, 6.0)


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


class OnSeveral(Stepping):
    """Each device has the same peak, but one has 1 GiB more; `knows` whether their sum can be measured."""

    def __init__(self, devices: int, *, knows: bool = True) -> None:
        super().__init__()
        self.devices = devices
        self.knows = knows

    def peak_gib(self) -> float:
        return self.value + 1

    def peak_all_gib(self) -> float | None:
        return self.devices * self.value + 1 if self.knows else None


def trained(
    memory: Stepping, clock: list[float], *, seconds: float, peak: float, devices: int = 1, state=None
) -> Meter:
    meter = Meter(memory, num_devices=devices)
    if state is not None:
        meter.restore(state)
    with meter.phase("train"):
        memory.value = peak
        clock[0] += seconds
    return meter


def test_a_phase_over_several_devices_has_the_largest_peak_their_sum_and_seconds_of_all(clock):
    cost = trained(OnSeveral(4), clock, seconds=5, peak=2.0, devices=4).costs()["train"]
    assert (cost.seconds, cost.device_seconds, cost.peak_gib, cost.peak_all_gib) == (5, 20, 3.0, 9.0)
    assert (cost.seconds_in_all, cost.peak_in_all_gib) == (20, 9.0)


def test_a_phase_on_one_device_has_nothing_in_all_beside_its_own(clock):
    cost = trained(Stepping(), clock, seconds=5, peak=2.0).costs()["train"]
    assert (cost.device_seconds, cost.peak_all_gib) == (None, None)
    assert (cost.seconds_in_all, cost.peak_in_all_gib) == (5, 2.0)


def test_a_run_that_goes_on_over_another_number_of_devices_counts_each_for_its_time(clock):
    state = trained(OnSeveral(4), clock, seconds=5, peak=2.0, devices=4).state()
    cost = trained(Stepping(), clock, seconds=7, peak=6.0, state=state).costs()["train"]
    assert (cost.seconds, cost.device_seconds, cost.peak_gib, cost.peak_all_gib) == (12, 27, 6.0, 9.0)


def test_a_peak_that_was_not_known_in_all_for_some_time_is_not_known(clock):
    state = trained(OnSeveral(4, knows=False), clock, seconds=5, peak=2.0, devices=4).state()
    cost = trained(Stepping(), clock, seconds=7, peak=6.0, state=state).costs()["train"]
    assert (cost.peak_gib, cost.peak_all_gib, cost.device_seconds) == (6.0, None, 27)


def test_costs_of_a_checkpoint_that_knew_one_device_are_taken_up(clock):
    state = {"train": [5.0, 2.0], "prepare": [1.0, None]}
    costs = trained(OnSeveral(2), clock, seconds=3, peak=4.0, devices=2, state=state).costs()
    train = costs["train"]
    assert (train.seconds, train.device_seconds, train.peak_gib, train.peak_all_gib) == (8, 11, 5.0, 9.0)
    assert (costs["prepare"].seconds, costs["prepare"].device_seconds, costs["prepare"].peak_gib) == (1, None, None)


def test_a_phase_that_is_done_again_counts_once_and_with_its_own_devices(clock):
    """prepare: 2 s on 4 devices, and again 3 s on one."""
    memory = Stepping()
    meter = Meter(memory)
    with meter.phase("prepare"):
        clock[0] += 3
    meter.restore({"prepare": [2.0, 1.0, 4.0, 8.0]})
    cost = meter.costs()["prepare"]
    assert (cost.seconds, cost.device_seconds, cost.peak_gib) == (3, None, 1.0)


def test_the_peak_that_an_allocator_held_is_kept_over_a_restart(clock):
    first = trained(Stepping(), clock, seconds=5, peak=3.0)
    assert first.costs()["train"].peak_reserved_gib == 6.0
    again = trained(Stepping(), clock, seconds=1, peak=2.0, state=first.state())
    assert again.costs()["train"].peak_reserved_gib == 6.0
    older = trained(Stepping(), clock, seconds=1, peak=2.0, state={"train": [5.0, 3.0, 3.0, 5.0]})
    assert (older.costs()["train"].peak_gib, older.costs()["train"].peak_reserved_gib) == (3.0, 4.0)
