"""What a new user sees first: the embedded quickstart, with its own weights, to a finished report (one seed here)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunelab.models.load import EMBEDDED

pytestmark = pytest.mark.slow

MIB = 1024**2


def test_the_embedded_models_are_small_and_hold_no_pickle():
    files = [file for folder in EMBEDDED.values() for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 20 * MIB
    assert {file.suffix for file in files} == {".safetensors", ".json"}
    assert all((folder / "model.safetensors").exists() for folder in EMBEDDED.values())


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("new-user")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tunelab", "run", "--set", "seeds=[0]"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "quickstart"


def test_the_quickstart_shows_a_real_difference(results):
    rows = {row["method"]: row for row in json.loads((results / "comparison.json").read_text())["rows"]}
    rouge = {method: row["scores"]["rouge_l"] for method, row in rows.items()}
    for method in ("full", "lora"):
        assert 0.4 < rouge[method]["mean"] < 0.9
        assert rouge[method]["low"] > rouge["base"]["high"], "it should beat the base clearly"
        assert rows[method]["scores"]["bleu"]["low"] > rows["base"]["scores"]["bleu"]["high"]
    assert rouge["full"]["mean"] != rouge["lora"]["mean"]
    assert rows["lora"]["trainable_parameters"] < 0.4 * rows["full"]["trainable_parameters"]
    assert rows["base"]["train_seconds"] is None and rows["full"]["train_seconds"] > 0


RELEASED = ".released-000001.json"
"""Who held the folder last: see ownership.py."""


def test_the_quickstart_leaves_the_documented_files(results):
    present = {path.name for path in results.iterdir()} - {RELEASED}
    assert present == {
        "study.yaml", "data", "runs", "plots", "comparison.csv", "comparison.json", "comparison.tex", "report.md",
        "report.html",
    }  # fmt: skip
    for run in (results / "runs").iterdir():
        names = {path.name for path in run.iterdir()} - {RELEASED}
        of_training = {"steps.jsonl", "validation.jsonl", "model", "forecast.json"}
        trained = set() if run.name.startswith("base") else of_training
        assert names == {"run.json", "predictions.jsonl", "result.json", "log.txt", "attempts.jsonl"} | trained, run
        assert json.loads((run / "run.json").read_text())["task"] == "restaurants"
