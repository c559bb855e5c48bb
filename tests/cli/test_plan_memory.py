"""`tunelab plan --memory` and `--time`: tables in 80 columns, one JSON, and one line for what is no size or device."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tunelab.cli import app

STUDY = """name: fits
model: tunelab/tiny
tasks: [restaurants]
methods: [lora]
seeds: [0]
batch: {max_length: 64}
"""


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    return str(file)


def test_the_table_says_what_fits(study):
    out = CliRunner().invoke(app, ["plan", study, "--memory", "1GiB", "--device", "gpu"]).output
    assert "fits: predicted memory on a GPU, limit 1.00 GiB" in out
    (row,) = [line for line in out.splitlines() if line.startswith("lora") and line.rstrip().endswith("yes")]
    assert "MiB" in row


def test_json_has_the_parts(study):
    out = CliRunner().invoke(app, ["plan", study, "--memory", "1MiB", "--device", "gpu", "--json"]).output
    found = json.loads(out[out.index("{") :])
    (lora,) = found["memory"]["methods"]
    assert lora["fits"] is False and lora["way_out"] is None
    assert found["memory"]["limit"] == 2**20
    assert lora["phases"]["load"]["weights, frozen, bfloat16"] > 7_000_000


def test_no_size_is_one_line(study, command):
    wrong = [
        (["--memory", "0GiB"], "0GiB"),
        (["--device", "gpu"], "--device gpu: torch sees no GPU here"),
        (["--time", "--device", "h10"], "h100"),
        (["--memory", "16GiB", "--device", "h10"], "h100"),
        (["--price", "much"], "--price"),
    ]
    for arguments, said in wrong:
        answer = command("plan", study, *arguments)
        assert answer.status == 2 and answer.out == ""
        (line,) = [each for each in answer.err.splitlines() if each.startswith("error")]
        assert said in line


def test_a_device_alone_is_memory_and_time_there(study):
    out = CliRunner().invoke(app, ["plan", study, "--device", "t4", "--json"]).output
    found = json.loads(out[out.index("{") :])
    (lora,) = found["memory"]["methods"]
    (timed,) = found["time"]["methods"]
    assert lora["fits"] is True and timed["num_runs"] == 1 and timed["run"] == found["time"]["seconds"] > 0


def test_the_time_table_has_its_price(study):
    given = ["plan", study, "--time", "--device", "h100", "--price", "2.5EUR/h", "--power", "700W"]
    out = CliRunner().invoke(app, given).output
    assert "predicted memory" not in out
    (row,) = [line for line in out.splitlines() if line.startswith("lora") and line.rstrip().endswith("s")]
    assert "fits: predicted time on h100 (an estimate)" in out
    given.remove("--time")  # a price takes the memory of a device not away
    assert "predicted memory on a GPU" in CliRunner().invoke(app, given).output
    assert "All runs of these methods:" in out and "EUR" in out and "kWh" in out and len(row) <= 80
