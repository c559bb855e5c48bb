"""What it cost to train what a run is made of."""

from pathlib import Path

import pytest

import tiny
from report.study_folder import write_run
from tunelab.config.launch import Ranks
from tunelab.entries import RunEntry
from tunelab.records import PhaseCost
from tunelab.study.executing.execute import spread_of
from tunelab.study.executing.parents import Parent, training_cost, training_spread

ONE = PhaseCost(seconds=30.0, peak_gib=3.0, peak_method="cuda-allocator")
FOUR = PhaseCost(seconds=10.0, peak_gib=1.0, peak_method="cuda-allocator", peak_all_gib=3.5, device_seconds=40.0)


@pytest.fixture
def parents(tmp_path):
    def made(*costs: tuple[PhaseCost, int]) -> list[Parent]:
        found = []
        for place, (cost, devices) in enumerate(costs):
            entry = RunEntry(f"lora-{place}", "lora", "restaurants", 0, "torch", 2e-4, "run", 1)
            spread = {"num_devices": devices, "num_nodes": devices // 2 or 1, "sharded": devices > 1}
            result = write_run(tmp_path / entry.id, entry, phases={"train": cost}, **spread)
            found.append(Parent("lora", Path(), result))
        return found

    return made


def test_parents_on_one_device_each_have_no_cost_in_all(parents):
    cost = training_cost(parents((ONE, 1), (ONE, 1)))
    assert (cost.seconds, cost.peak_gib, cost.device_seconds, cost.peak_all_gib) == (60.0, 3.0, None, None)


def test_parents_over_different_devices_cost_what_all_of_them_took(parents):
    both = parents((ONE, 1), (FOUR, 4))
    cost = training_cost(both)
    assert (cost.seconds, cost.peak_gib, cost.device_seconds, cost.peak_all_gib) == (40.0, 3.0, 70.0, 3.5)
    assert training_spread(both) == {"num_devices": 4, "num_nodes": 2, "sharded": True}


def test_a_peak_that_one_parent_lacks_in_all_is_missing(parents):
    cost = training_cost(parents((ONE, 1), (FOUR.model_copy(update={"peak_all_gib": None}), 4)))
    assert (cost.peak_gib, cost.peak_all_gib, cost.device_seconds) == (3.0, None, 70.0)


def test_a_run_is_spread_over_its_ranks():
    run = tiny.run_config().model_copy(update={"ranks": Ranks(devices=4, nodes=2, shard=True)})
    assert spread_of(run) == {"num_devices": 8, "num_nodes": 2, "sharded": True}
    assert spread_of(tiny.run_config()) == {"num_devices": 1, "num_nodes": 1, "sharded": False}


def test_joules_are_added_and_one_parent_that_was_not_measured_makes_them_unknown(parents):
    first, second = (ONE.model_copy(update={"rapl_joules": joules}) for joules in (300.0, 200.0))
    assert training_cost(parents((first, 1), (second, 1))).rapl_joules == 500.0
    assert training_cost(parents((first, 1), (ONE, 1))).rapl_joules is None
