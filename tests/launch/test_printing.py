"""What `tunelab show STUDY` says of a split: sources, lengths, what is learned; what `show RUN` says of its costs."""

import pytest
from rich.console import Console

from launch.control.test_status import Started
from report.study_folder import write_run
from tunelab.entries import Attempt, RunEntry
from tunelab.launch.printing import print_tasks, result_text, run_text
from tunelab.records import PhaseCost
from tunelab.study.verbs.show import FirstStep, Piece, ShownExample, ShownTask

CUTS = {"prompts_cut": 1, "targets_cut": 0}
COUNTS = {"rows": 5, "shortest": 3, "median": 9, "longest": 20, "supervised_tokens": 30, **CUTS}


@pytest.fixture
def shown() -> ShownTask:
    split = {"counts": COUNTS, "sources": {}, "lengths": {"tokens": [0, 10, 20], "num_rows": [4, 1]}}
    mixed = {**split, "sources": {"alpaca": 3, "tulu_v2": 2}}
    summary = {"max_length": 20, "splits": {"train": mixed, "test": split}, "overlap": None}
    example = ShownExample("train-000000", (), (Piece("Hi ", False, False), Piece("Hello", True, False)), 3, 1)
    return ShownTask("chats", False, summary, (), (example,), FirstStep(("train-000000",), 1, 1, 3, 1))


def printed(shown: ShownTask) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        print_tasks([shown], console)
    return capture.get().splitlines()


def test_every_source_is_counted_and_lengths_are_drawn(shown):
    lines = printed(shown)
    assert lines[:6] == [
        "chats: what is learned stands in [[ ]]",
        "  train: 5 rows of 3-20 tokens (median 9), 30 supervised; cut at 20: 1 prompts, 0 targets",
        "    of alpaca: 3, tulu_v2: 2",
        "    lengths 1-20: |█▂|, most are 1-10 tokens (4 rows)",
        "  test: 5 rows of 3-20 tokens (median 9), 30 supervised; cut at 20: 1 prompts, 0 targets",
        "    lengths 1-20: |█▂|, most are 1-10 tokens (4 rows)",
    ]
    assert "Hi [[Hello]]" in lines


def test_a_task_of_one_source_names_none(shown):
    shown.summary["splits"]["train"]["sources"] = {}
    assert not [line for line in printed(shown) if "alpaca" in line]


def costs_of(folder, **changes) -> list[str]:
    entry = RunEntry("lora-0", "lora", "chats", 0, "torch", 2e-4, "run", 1)
    lines = result_text(write_run(folder, entry, num_examples=2, **changes)).splitlines()
    return [line for line in lines if " peak " in line or " device" in line]


def test_a_run_over_several_devices_tells_its_costs_of_one_and_in_all(tmp_path):
    train = PhaseCost(seconds=20.0, peak_gib=1.5, peak_all_gib=5.5, device_seconds=80.0)
    several = {"num_devices": 4, "num_nodes": 2, "sharded": True, "tokens_per_second": 8000.0}
    assert costs_of(tmp_path, phases={"train": train}, **several) == [
        "  train            20.0 s, peak 1.50 GiB of one device; in all 80.0 s, 5.50 GiB",
        "  over 4 devices (2 nodes, sharded), 8,000 tokens/s in all, 2,000 a device",
    ]


def test_a_run_on_one_device_names_no_device(tmp_path):
    train = PhaseCost(seconds=20.0, peak_gib=1.5)
    assert costs_of(tmp_path, phases={"train": train}) == ["  train            20.0 s, peak 1.50 GiB"]


def test_show_run_tells_who_executed_it_how_it_ended_and_which_logs_say_more(tmp_path):
    folder = Started(tmp_path / "out")["lora 3"]
    begun = {"nonce": "a", "host": "node7", "pid": 5, "started": "2026-01-01T10:00:00+00:00", "progress": (0, 0)}
    job = {"job": "12_3", "log": "slurm/12_3.log"}
    folder.write_attempt(Attempt(**begun, **job, how="stopped", ended="2026-01-01T11:00:00+00:00", reached=(40, 0)))
    folder.write_attempt(Attempt(**(begun | {"nonce": "b", "progress": (40, 0)}), **job, restart=1))
    folder.log.write_text("loading\n")
    log = f"log: {tmp_path}/out/slurm/12_3.log"
    assert run_text(folder).splitlines()[-4:] == [
        "attempts:",
        "  2026-01-01T10:00:00+00:00 node7, process 5, job 12_3, from step 0: stopped at step 40, "
        f"2026-01-01T11:00:00+00:00; {log}",
        f"  2026-01-01T10:00:00+00:00 node7, process 5, job 12_3, restart 1, from step 40: ended without a word; {log}",
        f"log: {folder.log}",
    ]
    with folder.lock():
        assert ": runs; log: " in run_text(folder)
