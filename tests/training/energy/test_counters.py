"""Energy is what counters have counted: round their end, and unknown where they cannot be believed."""

import pytest

from training.test_telemetry import Stepping
from tunelab.training.energy import counters
from tunelab.training.energy.counters import Counter, EnergyMeter, grown
from tunelab.training.telemetry import Meter

FULL = 65_000.0


class Machine:
    """A counter of each kind and the time of day, set by the test."""

    def __init__(self, monkeypatch) -> None:
        self.joules: dict[str, float | None] = {"package": 100.0, "gpu": 5000.0}
        self.now = 0.0
        monkeypatch.setattr(counters.time, "perf_counter", lambda: self.now)

    def meter(self) -> EnergyMeter:
        package, gpu = Counter(lambda: self.joules["package"], FULL), Counter(lambda: self.joules["gpu"])
        return EnergyMeter({"rapl": [package], "nvml": [gpu]})

    def spend(self, seconds: float, *, package: float, gpu: float = 0.0) -> None:
        self.now += seconds
        self.joules["package"] = (self.joules["package"] + package) % FULL
        self.joules["gpu"] += gpu


@pytest.fixture
def machine(monkeypatch) -> Machine:
    return Machine(monkeypatch)


def test_joules_of_each_method_are_those_between_start_and_stop(machine):
    meter = machine.meter()
    meter.start()
    machine.spend(10, package=1500, gpu=3000)
    assert meter.stop() == {"rapl": 1500, "nvml": 3000}
    machine.spend(10, package=999)
    meter.start()
    machine.spend(1, package=20, gpu=30)
    assert meter.stop() == {"rapl": 20, "nvml": 30}


def test_a_counter_that_is_full_begins_again(machine):
    machine.joules["package"] = FULL - 200
    meter = machine.meter()
    meter.start()
    machine.spend(10, package=900)
    assert machine.joules["package"] == 700 and meter.stop()["rapl"] == pytest.approx(900)


def test_it_may_be_full_many_times_as_long_as_it_is_looked_at(machine):
    meter = machine.meter()
    meter.start()
    for _ in range(40):
        machine.spend(counters.LOOK_SECONDS, package=7_000)
        meter.look()
    assert meter.stop()["rapl"] == pytest.approx(280_000)


def test_it_is_looked_at_meanwhile(machine, monkeypatch):
    monkeypatch.setattr(counters, "LOOK_SECONDS", 0.001)
    looks = []
    monkeypatch.setattr(EnergyMeter, "look", lambda self: looks.append(1))
    meter = machine.meter()
    meter.start()
    while len(looks) < 3:
        pass
    meter.stop()


@pytest.mark.parametrize(
    ("before", "after", "full", "seconds"),
    [
        (5000.0, 10.0, None, 10.0),  # a driver that was loaded again
        (5000.0, 10.0, FULL, 10.0),  # a step back that no full counter explains
        (5000.0, 64_000.0, FULL, 10.0),  # no processor takes 5.9 kW
        (5000.0, 6000.0, FULL, 100.0),  # so long a time that it may have been full in it
        (None, 10.0, None, 1.0),
        (10.0, None, None, 1.0),
    ],
)
def test_what_cannot_be_told_is_missing(before, after, full, seconds):
    assert grown(before, after, Counter(lambda: None, full), seconds=seconds) is None


def test_one_counter_that_is_not_known_makes_the_sum_unknown_to_its_end(machine):
    meter = machine.meter()
    meter.start()
    machine.joules["gpu"] = 3.0
    meter.look()
    machine.spend(1, package=50, gpu=70)
    assert meter.stop() == {"rapl": 50, "nvml": None}


def test_no_counters_take_no_thread_and_say_nothing():
    meter = EnergyMeter({"rapl": [], "nvml": []})
    meter.start()
    assert meter.stop() == {}


def test_phases_have_their_own_joules_and_an_inner_phase_counts_in_no_outer_one(machine):
    meter = Meter(Stepping(), energy=machine.meter())
    with meter.phase("train"):
        machine.spend(3, package=300, gpu=30)
        with meter.phase("validate"):
            machine.spend(5, package=1000, gpu=100)
        machine.spend(4, package=400, gpu=40)
    train, validate = meter.costs()["train"], meter.costs()["validate"]
    assert (train.rapl_joules, train.nvml_joules) == (700, 70)
    assert (validate.rapl_joules, validate.nvml_joules) == (1000, 100)


def test_where_nothing_counts_a_phase_has_none():
    meter = Meter(Stepping())
    with meter.phase("train"):
        pass
    assert (meter.costs()["train"].rapl_joules, meter.costs()["train"].nvml_joules) == (None, None)


def trained(machine: Machine, *, package: float, state=None, counts: bool = True) -> Meter:
    meter = Meter(Stepping(), energy=machine.meter() if counts else None)
    if state is not None:
        meter.restore(state)
    with meter.phase("train"):
        machine.spend(1, package=package)
    return meter


def test_joules_of_an_interrupted_run_are_taken_up(machine):
    state = trained(machine, package=300).state()
    assert trained(machine, package=200, state=state).costs()["train"].rapl_joules == 500


def test_a_part_that_was_not_measured_makes_the_whole_unknown(machine):
    """On another machine, or by a version that did not measure."""
    elsewhere = trained(machine, package=300, counts=False).state()
    for state in (elsewhere, {"train": [5.0, 3.0, 3.0, 5.0, None]}, {"train": [5.0, 3.0]}):
        cost = trained(machine, package=200, state=state).costs()["train"]
        assert cost.rapl_joules is None and cost.seconds > 1


def test_of_a_phase_that_is_done_again_the_longer_one_counts(machine, monkeypatch):
    meter = Meter(Stepping(), energy=machine.meter())
    with meter.phase("prepare"):
        machine.spend(3, package=90)
    meter.restore({"prepare": [2.0, 1.0, 1.0, 2.0, None, 50.0, None]})
    assert meter.costs()["prepare"].rapl_joules == 90
