"""Counters are found in a powercap folder and by NVML; what cannot be read is missing, and nothing is said."""

import ctypes
from pathlib import Path

import pytest

from tunelab.training.energy import machine
from tunelab.training.energy.nvml import nvml_counters
from tunelab.training.energy.rapl import rapl_counters

FULL = 262_143_328_850


def zone(powercap: Path, name: str, *, called: str, microjoules: int = 1_500_000) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    for file, content in (("name", called), ("energy_uj", microjoules), ("max_energy_range_uj", FULL)):
        (folder / file).write_text(f"{content}\n")
    return folder


@pytest.fixture
def powercap(tmp_path) -> Path:
    """Two packages, with what must not be counted beside them."""
    zone(tmp_path, "intel-rapl:0", called="package-0")
    zone(tmp_path, "intel-rapl:1", called="package-1", microjoules=2_000_000)
    zone(tmp_path, "intel-rapl:0:0", called="core")
    zone(tmp_path, "intel-rapl:2", called="psys")
    zone(tmp_path, "intel-rapl-mmio:0", called="package-0")
    return tmp_path


def test_every_package_is_counted_once_and_nothing_else(powercap):
    found = rapl_counters(powercap)
    assert [(one.joules(), one.range_joules) for one in found] == [(1.5, FULL / 1e6), (2.0, FULL / 1e6)]


def test_a_machine_without_rapl_has_no_counters(tmp_path):
    assert rapl_counters(tmp_path) == rapl_counters(tmp_path / "not there") == []


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj"])
def test_one_package_that_may_not_be_read_leaves_none(powercap, monkeypatch, file):
    """As on most systems for all but root; as root every mode can be read."""
    read = Path.read_text

    def refused(self, *arguments, **options):
        if self.name == file and self.parent.name == "intel-rapl:1":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    assert rapl_counters(powercap) == []


def test_a_counter_that_vanishes_is_not_known(powercap):
    counter = rapl_counters(powercap)[0]
    (powercap / "intel-rapl:0" / "energy_uj").write_text("")
    assert counter.joules() is None


class Driver:
    """NVML's functions as nvml.h has them; GPUs by UUID, each with its millijoules or None: it does not count."""

    def __init__(self, gpus: dict[str, int | None], *, starts: bool = True) -> None:
        self.gpus, self.starts = gpus, starts

    def nvmlInit_v2(self) -> int:
        return 0 if self.starts else 9

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle) -> int:
        if uuid.decode() not in self.gpus:
            return 6  # NVML_ERROR_NOT_FOUND
        handle._obj.value = 1 + list(self.gpus).index(uuid.decode())
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, energy) -> int:
        found = list(self.gpus.values())[handle.value - 1]
        if found is None:
            return 3  # NVML_ERROR_NOT_SUPPORTED
        energy._obj.value = found
        return 0


def counted(driver: Driver, *uuids: str) -> list[float | None]:
    return [one.joules() for one in nvml_counters(uuids, library=lambda: driver)]


def test_the_runs_own_gpus_are_counted_and_no_others():
    driver = Driver({"GPU-a": 5_000, "GPU-b": 7_500, "GPU-c": 2**40})
    assert counted(driver, "GPU-b", "GPU-c") == [7.5, 2**40 / 1000]
    assert counted(driver) == []


def test_a_gpu_that_does_not_count_leaves_none():
    assert counted(Driver({"GPU-a": 5_000, "GPU-b": None}), "GPU-a", "GPU-b") == []
    assert counted(Driver({"GPU-a": 5_000}), "GPU-a", "MIG-z") == []
    assert counted(Driver({"GPU-a": 5_000}, starts=False), "GPU-a") == []


def test_a_machine_without_a_driver_has_no_counters():
    assert nvml_counters(["GPU-a"], library=lambda: ctypes.CDLL("libnvidia-ml-not-there.so.1")) == []


def test_a_gpu_that_fails_later_is_not_known():
    driver = Driver({"GPU-a": 5_000})
    (counter,) = nvml_counters(["GPU-a"], library=lambda: driver)
    driver.gpus["GPU-a"] = None
    assert counter.joules() is None


def test_a_run_over_several_nodes_is_not_measured(monkeypatch):
    monkeypatch.setattr(machine, "rapl_counters", lambda: pytest.fail("one node's counters are not the run's"))
    meter = machine.own_energy(num_gpus=0, num_nodes=2)
    meter.start()
    assert meter.stop() == {}


def test_the_first_gpus_that_this_process_sees_are_the_runs(monkeypatch):
    asked = []
    monkeypatch.setattr(machine.device, "all_uuids", lambda: ["GPU-b", "GPU-a"])
    monkeypatch.setattr(machine, "rapl_counters", lambda: [])
    monkeypatch.setattr(machine, "nvml_counters", lambda gpus: asked.append(gpus) or [])
    machine.own_energy(num_gpus=1)
    machine.own_energy(num_gpus=0)
    assert asked == [["GPU-b"], []]
