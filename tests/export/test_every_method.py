"""One study with every file in methods/, from plan to report in this process, and the export of each run."""

import json

import pytest
import yaml

import tiny
import tunelab
from tunelab import catalogue
from tunelab.errors import ConfigError
from tunelab.export.export import export

pytestmark = pytest.mark.slow

METHODS = catalogue.names("methods")
ROWS = {"train_rows": 40, "validation_rows": 8, "test_rows": 4}
OF = {"of": ["full", "lora"]}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("every")
    classes = {name: catalogue.load("methods", name) for name in METHODS}
    study = {
        "name": "every",
        "model": str(tiny.model_folder(folder / "llama")),
        "tasks": [
            {"name": "restaurants", "train_rows": 40, "validation_rows": 8, "test_rows": 4, "metrics": ["perplexity"]}
        ],
        "methods": [{name: cls.example() if cls.trains else OF} for name, cls in classes.items()],
        "seeds": [0],
        "budget": {"steps": 10},
        "batch": {"examples": 4},
        "precision": "fp32",
        "threads": 1,
    }
    (folder / "every.yaml").write_text(yaml.safe_dump(study))
    outcome = tunelab.run(folder / "every.yaml", out=folder / "out", cluster="in-process")
    assert outcome.num_failed == 0, [path.read_text() for path in folder.glob("out/runs/*/failure.json")]
    return folder / "out"


def run_of(out, name: str):
    (found,) = (path for path in (out / "runs").iterdir() if path.name.startswith((f"{name}--", f"{name}-")))
    return found


def test_every_method_is_a_row_of_the_report(out):
    rows = {row["method"].split()[0]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert set(rows) == {"base", *METHODS}
    assert all(row["scores"]["perplexity"]["mean"] > 1 for row in rows.values())
    for name in METHODS:
        assert rows[name]["train_seconds"] > 0 and rows[name]["saved_mib"] > 0, name


def test_the_resolved_study_is_read_again(out):
    before = json.loads((out / "comparison.json").read_text())
    tunelab.report(out)
    assert json.loads((out / "comparison.json").read_text()) == before


@pytest.mark.parametrize("merge", [False, True], ids=["as saved", "merged"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_exported_or_says_why_not(name, merge, out, tmp_path):
    if not catalogue.load("methods", name).one_model:
        with pytest.raises(ConfigError, match="export each of them: full--restaurants"):
            export(run_of(out, name), tmp_path / "model", merge=merge)
        return
    exported = export(run_of(out, name), tmp_path / "model", merge=merge)
    assert (exported.kind == "merged") == merge
    assert (tmp_path / "model" / "README.md").exists()
