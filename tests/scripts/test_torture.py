"""scripts/torture: a short campaign that really sends signals, and that each of its judges can say no."""

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from docs.pages import ROOT
from tunelab import catalogue

FOLDER = ROOT / "scripts" / "torture"


@pytest.fixture
def load(monkeypatch):
    """A module of the campaign."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def results(folder: Path) -> Path:
    """A results folder as a finished study of one run leaves it, as far as it is compared."""
    run = folder / "runs" / "lora--a"
    (run / "model").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "a.json").write_text("{}")
    step = {"step": 1, "loss": 2.0, "seconds": 0.1, "tokens_per_second": 9.0}
    (run / "steps.jsonl").write_text(json.dumps(step) + "\n")
    (run / "predictions.jsonl").write_text('{"id": "a"}\n')
    (run / "result.json").write_text(json.dumps({"run": "lora--a", "scores": {"loss": 1.0}, "notes": ["resumed"]}))
    (run / "model" / "adapter.safetensors").write_bytes(b"weights")
    return folder


def test_every_method_is_disturbed(load):
    assert set(load("studies").METHODS) == set(catalogue.names("methods"))


def test_what_is_measured_may_differ_and_nothing_else(load, tmp_path):
    compared = load("compared")
    whole, other = results(tmp_path / "whole"), results(tmp_path / "other")
    run = other / "runs" / "lora--a"
    (run / "steps.jsonl").write_text('{"step": 1, "loss": 2.0, "seconds": 7, "tokens_per_second": 1.0}\n')
    assert compared.differences(other, whole) == [] and compared.left_behind(other) == []
    changes = {
        "steps.jsonl": b'{"step": 1, "loss": 2.1}\n', "predictions.jsonl": b'{"id": "b"}\n',
        "result.json": b'{"run": "lora--a", "scores": {"loss": 2.0}}', "model/adapter.safetensors": b"weighty",
        "model/more.json": b"{}", "validation.jsonl": b"{}\n", "../../data/a.json": b"[]",
    }  # fmt: skip
    for name, content in changes.items():
        shutil.rmtree(other)
        results(other)
        (run / name).write_bytes(content)
        (said,) = compared.differences(other, whole)
        assert Path(name).name in said
    (other / "runs" / "full--a").mkdir()
    assert compared.differences(other, whole) == ["other runs: full--a"]
    assert compared.differences(tmp_path, tmp_path) == ["no runs"]


@pytest.mark.parametrize(
    "name",
    [
        "runs/lora--a/checkpoint/step-1", "runs/lora--a/owner-000001.json", "runs/lora--a/.steps.jsonl.0.tmp",
        "runs/lora--a/checkpoint/.writing-0", "runs/lora--a/texts.jsonl", "runs/lora--a/.owner.a", "owner-000002.json",
        "runs/lora--a/failure.json",
    ],
)  # fmt: skip
def test_what_is_left_behind_is_named(load, tmp_path, name):
    file = results(tmp_path) / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    assert load("compared").left_behind(tmp_path)


def test_a_slope_is_that_of_the_samples_after_the_warm_up(load):
    slopes = load("slopes")
    flat = [slopes.Sample(step, 100_000 + (0 if step > 100 else 100 * step), 9) for step in range(1, 1000, 5)]
    leaking = [slopes.Sample(step, 100_000 + 2 * step, 9 + step // 300) for step in range(1, 1000, 5)]
    assert slopes.slope(flat, steps=1000).faults == []
    found = slopes.slope(leaking, steps=1000)
    assert abs(found.kib_a_step - 2) < 1e-6 and len(found.faults) == 2
    with pytest.raises(ValueError, match="at least 10"):
        slopes.slope(flat[:60], steps=1000)


def test_a_secret_in_a_file_is_found(load, tmp_path):
    slopes = load("slopes")
    with pytest.raises(ValueError, match="no files"):
        slopes.holding(tmp_path, {})
    (tmp_path / "a.json").write_text("{}")
    assert slopes.holding(tmp_path, {"HF_TOKEN": "canary"}) == []
    (tmp_path / "b.json").write_text('{"environment": "canary"}')
    assert slopes.holding(tmp_path, {"HF_TOKEN": "canary"}) == ["b.json holds HF_TOKEN"]


def test_points_are_those_of_the_seed_and_of_every_signal(load):
    disturbed = load("disturbed")
    points = list(disturbed.drawn_points(random.Random(3), 40))
    assert points == list(disturbed.drawn_points(random.Random(3), 40)) and len(points) == 40
    assert points != list(disturbed.drawn_points(random.Random(4), 40))
    assert {name for _, name in points} == set(disturbed.SIGNALS)
    assert {phase for phase, _ in points} == set(disturbed.PHASES)
    assert [phase for phase, _ in points].index("report") > 20, "runs are over then"


def test_tests_of_the_list_are_there():
    entries = yaml.safe_load((FOLDER / "listed.yaml").read_text())
    files = [file for entry in entries for file in entry["tests"].split()]
    assert len(entries) > 8 and len(set(files)) == len(files)
    assert [file for file in files if not (ROOT / file.partition("::")[0]).is_file()] == []


def test_a_row_of_tests_counts_them(load):
    torture = load("campaign")
    row = torture.tests_row("names", 1, "FAILED tests/a.py::test_b - no\n2 failed, 7 passed, 1 skipped in 3.2s")
    assert row[:3] == ("names", 9, 7) and "FAILED" not in row.note and "1 skipped" in row.note
    assert torture.tests_row("names", 0, "...\n7 passed in 1s")[:3] == ("names", 7, 7)
    assert not torture.tests_row("names", 2, "ERROR: not found").holds
    assert not torture.tests_row("names", 0, "....  [100%]").holds, "nothing was counted"
    assert not torture.tests_row("names", 5, "no tests ran in 0.1s").holds


def test_a_row_is_one_line_of_a_table(load):
    row = load("campaign").Row("a|b", 2, 1, "no\nroom")
    assert row.text == "| a\\|b | 2 | 1 | no room |" and not row.holds


@pytest.mark.slow
def test_a_process_that_outlives_its_call_is_found_and_ended(load, tmp_path):
    studies = load("studies")
    place = studies.Place(tmp_path / "place", "model: x\n")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=place.environment)
    assert studies.outliving(tmp_path / "another", seconds=0) == []
    assert studies.outliving(place.folder, seconds=0.5) == [process.pid]
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.slow
def test_a_study_disturbed_at_a_few_points_equals_one_left_in_peace(load, tmp_path):
    disturbed = load("disturbed")
    laps = list(disturbed.laps(tmp_path, points=3, seed=5, methods=("lora",)))
    points = [each for lap in laps for each in lap.points]
    assert points and [fault for each in points for fault in each.faults] == []
    assert [lap.faults for lap in laps] == [[]] * len(laps)
    rows = disturbed.by_kind(laps)
    assert sum(tried for tried, _ in rows.values()) == len(points) and all(a == b for a, b in rows.values())


def can_mount(folder) -> bool:
    """Root of a container often may not."""
    if subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True).returncode:
        return False
    return subprocess.run(["umount", folder]).returncode == 0


@pytest.mark.slow
def test_on_a_disk_that_becomes_full_a_study_ends_with_a_line_and_goes_on_when_there_is_room(load, tmp_path):
    if not can_mount(tmp_path):
        missing = "a small disk cannot be mounted here"
        (pytest.fail if os.environ.get("TUNELAB_REQUIRE_ALL") == "1" else pytest.skip)(missing)
    (found,) = load("surroundings").tried(tmp_path, ["disk full: checkpoint"])
    assert found == ("disk full: checkpoint", [])


@pytest.mark.slow
def test_no_secret_of_the_environment_is_written(load, tmp_path):
    assert load("slopes").written_secrets(tmp_path) == []


@pytest.mark.slow
def test_a_word_that_names_nothing_is_no_success(tmp_path):
    command = [sys.executable, str(FOLDER), "--only", "nothing-of-that-name", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "nothing is named nothing-of-that-name" in done.stdout


def test_what_is_chosen(load):
    torture = load("campaign")
    given = torture.parsed(["--points", "7", "--only", "slope", "full"])
    assert (given.points, given.seed, given.only) == (7, 0, ["slope", "full"])
    page = torture.page([torture.Row("SIGTERM", 3, 3)], seconds=90, given=Namespace(points=7, seed=1))
    assert page.startswith("# ") and "--points 7 --seed 1" in page and "| SIGTERM | 3 | 3 |  |" in page
