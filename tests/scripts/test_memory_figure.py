"""The figure of docs/memory.md: bars as long as what they stand for."""

import importlib
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

GIB = 2**30


@pytest.fixture
def memory_figure(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))
    module = importlib.import_module("memory_figure")
    monkeypatch.setattr(module, "PLACE", tmp_path / "memory.svg")
    return module


def test_bars_are_as_long_as_their_parts(memory_figure, tmp_path):
    train = {"weights, frozen, bfloat16": 3 * GIB, "weights, trained, float32": GIB, "head": 2 * GIB, "process": GIB}
    methods = [{"method": "a<b", "phases": {"train": train}}, {"method": "untold"}]
    (tmp_path / "plan.json").write_text(json.dumps({"memory": {"methods": methods}}))
    memory_figure.main([str(tmp_path / "plan.json")])
    root = ElementTree.fromstring((tmp_path / "memory.svg").read_text())
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if list(each)]
    told = {bar[0].text: float(bar.get("width", 0)) / memory_figure.WIDTH for bar in bars}
    assert told == {
        "a<b, weights: 4.00 GiB": pytest.approx(4 / 7, abs=1e-3),
        "a<b, head: 2.00 GiB": pytest.approx(2 / 7, abs=1e-3),
        "a<b, other: 1.00 GiB": pytest.approx(1 / 7, abs=1e-3),
    }
    assert re.search(r">7\.0 GiB<", (tmp_path / "memory.svg").read_text())
