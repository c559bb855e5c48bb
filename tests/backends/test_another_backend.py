"""A second back end is one module, found by its name: nothing else is edited."""

import json
from importlib.metadata import EntryPoint

import pytest
import yaml

import tiny
import tunelab
from tunelab import catalogue
from tunelab.errors import ConfigError

MODULE = """
from tunelab.backends.torch.backend import TorchHf
from tunelab.backend_contract import Backend

class Other(Backend):
    def supports(self, method):
        return method == "lora"

for name in ("resolve", "count", "limits", "locate", "text", "memory", "device", "session"):
    setattr(Other, name, getattr(TorchHf, name))
Other.__abstractmethods__ = frozenset()
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    (tmp_path / "other_backend.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint(name="other", value="other_backend", group="tunelab.backends")]
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points if group == "tunelab.backends" else [])


def study(folder):
    methods = [
        {"lora": {"learning_rate": 1e-3}},
        {"full": {"learning_rate": 1e-3}},
        {"merge": {"of": ["lora", "full"]}},
    ]
    text = {
        "name": "two",
        "model": str(tiny.model_folder(folder / "model")),
        "tasks": [{"name": "restaurants", "train_rows": 20, "test_rows": 4, "metrics": ["perplexity"]}],
        "methods": methods,
        "seeds": [0],
        "budget": {"steps": 2},
        "backends": ["torch", "other"],
        "precision": "fp32",
        "threads": 1,
    }
    (folder / "two.yaml").write_text(yaml.safe_dump(text))
    return folder / "two.yaml"


@pytest.mark.slow
def test_a_study_runs_on_both_and_says_what_one_of_them_cannot_train(tmp_path, other):
    planned = tunelab.plan(study(tmp_path))
    found = {(run.backend, run.method) for run in planned.runs}
    assert {method for backend, method in found if backend == "other"} == {"base", "lora"}
    assert len(found) == 6
    (note,) = (note for note in planned.notes if note.startswith("other"))
    assert note == "other cannot train full, merge average of lora + full: left out there"
    outcome = tunelab.run(tmp_path / "two.yaml", out=tmp_path / "out", cluster="in-process")
    assert outcome.num_failed == 0
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    of = {(row["backend"], row["method"]): row["scores"]["perplexity"]["mean"] for row in rows}
    assert of["torch", "lora"] == of["other", "lora"] and of["torch", "base"] == of["other", "base"]


def test_a_name_that_no_folder_has_is_told_with_the_nearest(tmp_path, other):
    with pytest.raises(ConfigError, match="backends.1: no back end is called 'othr'. Did you mean"):
        tunelab.load_study(study(tmp_path), overrides=["backends=[torch, othr]"])
