"""What is to run on a GPU is tried on the CPU: every part of it, and what a part that fails or hangs leaves."""

import importlib
import json
import os
import subprocess
import sys
import time
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu_check.py"
MAY_BE_MISSING = {"llama fp16", "out of memory", "vllm", "1b liger", "3b liger"}


@pytest.fixture
def gpu_check(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("gpu_check")


def given(out: Path, **changes) -> Namespace:
    return Namespace(**{"out": out, "wheels": None, "tiny": False, "seconds": 100.0, **changes})


def test_every_part_runs_on_the_cpu_with_tiny_shapes(tmp_path):
    command = [sys.executable, str(SCRIPT), "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    compared = found.pop("compared")
    states = {name: facts["state"] for name, facts in found.items()}
    assert {name for name, state in states.items() if state != "ok"} <= MAY_BE_MISSING
    assert set(states.values()) <= {"ok", "not covered"} and len(states) == 16
    assert found["predicted memory"]["qlora"].endswith("MiB / not measured") and "full" in found["predicted memory"]
    assert set(compared) >= {"1b against hf", "3b against hf"}
    assert "DIFFER" not in "".join(compared.values()), "ours and HF's Trainer should begin with the same loss"
    for name in ("1b ours", "1b hf"):
        assert found[name]["tokens/s"] > 0 and found[name]["MFU %"] > 0
    table = [line for line in done.stdout.splitlines() if line.startswith(tuple(states))]
    assert len(table) >= len(states)


def test_a_part_that_fails_or_hangs_is_a_line_and_the_others_go_on(tmp_path, gpu_check, monkeypatch, capsys):
    does = {"hangs": "import time; time.sleep(60)", "breaks": "raise SystemExit(3)", "works": "", "is late": ""}

    def started(name, given):
        if name in ("works", "is late"):
            (given.out / f"{name}.json").write_text(json.dumps({"state": "ok", "tokens/s": 12345.6}))
        return subprocess.Popen([sys.executable, "-c", does[name]])

    monkeypatch.setattr(gpu_check, "in_process_of_its_own", started)
    chosen = {"hangs": (None, 1.0, True), "breaks": (None, 20.0, True), "works": (None, 20.0, False)}
    found = gpu_check.check(given(tmp_path), chosen)
    assert {name: facts["state"] for name, facts in found.items()} == {
        "hangs": "failed", "breaks": "failed", "works": "ok",
    }  # fmt: skip
    assert "after its 1 s" in found["hangs"]["said"] and "status 3" in found["breaks"]["said"]
    assert "tokens/s 1.235e+04" in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu-check.json").read_text()) == found
    found = gpu_check.check(given(tmp_path, seconds=1.0), {"is late": (None, 20.0, False)})
    assert found["is late"] == {"state": "not covered", "said": "no time was left"}


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
def test_a_part_in_a_process_of_its_own_leaves_its_outcome_and_a_log(tmp_path, gpu_check):
    process = gpu_check.in_process_of_its_own("machine", given(tmp_path))
    facts = gpu_check.ended(process, "machine", given(tmp_path), limit=200.0, began=time.perf_counter())
    assert facts["state"] == "failed" and "torch sees no GPU" in facts["said"]
    assert "RuntimeError" in (tmp_path / "machine.log").read_text()


def test_carried_wheels_are_unpacked_once_and_stand_behind_what_is_there(tmp_path, gpu_check, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_only_here.py", "VALUE = 7")
    monkeypatch.setattr(gpu_check.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    gpu_check.use(wheels)
    assert importlib.import_module("carried_only_here").VALUE == 7
    assert sys.path[-1].startswith(str(tmp_path))
