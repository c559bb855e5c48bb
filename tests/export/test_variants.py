"""LoRA's variants as rows of one study, and what is exported of each: what stands beside adapters, and other starts."""

import json

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

import tiny
import tunelab
from tunelab.export.export import export

pytestmark = pytest.mark.slow

ALSO = {"also": ["embeddings", "norms"], "also_rate": 0.5}
VARIANTS = {
    "lora also=embeddings+norms": {"lora": {"rank": 2, "learning_rate": 1e-2, **ALSO}},
    "lora init=lora_ga": {"lora": {"rank": 2, "learning_rate": 1e-2, "init": "lora_ga"}},
    "lora init=lora_one": {"lora": {"rank": 2, "learning_rate": 1e-2, "init": "lora_one"}},
    "qlora": {"qlora": {"rank": 2, "learning_rate": 1e-2, **ALSO}},
    "dora": {"dora": {"rank": 2, "learning_rate": 1e-2, **ALSO}},
    "rosa": {"rosa": {"rank": 2, "density": 0.01, "learning_rate": 1e-2, **ALSO}},
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """On a base in bf16, which most are: what is trained beside adapters is held in fp32 all the same."""
    folder = tmp_path_factory.mktemp("variants")
    base = tiny.model_folder(folder / "llama")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    study = {
        "name": "variants",
        "model": str(base),
        "tasks": [
            {"name": "restaurants", "train_rows": 40, "validation_rows": 8, "test_rows": 4, "metrics": ["perplexity"]}
        ],
        "methods": list(VARIANTS.values()),
        "seeds": [0],
        "budget": {"steps": 6},
        "batch": {"examples": 4},
        "precision": "fp32",
        "threads": 1,
    }
    (folder / "variants.yaml").write_text(yaml.safe_dump(study))
    outcome = tunelab.run(folder / "variants.yaml", out=folder / "out", cluster="in-process")
    assert outcome.num_failed == 0, [path.read_text() for path in folder.glob("out/runs/*/failure.json")]
    return folder / "out"


def test_rows_say_what_differs(out):
    rows = {row["method"]: row for row in json.loads((out / "comparison.json").read_text())["rows"]}
    assert {label.split()[0] for label in rows} == {"base", "lora", "qlora", "dora", "rosa"}
    assert any("also=embeddings+norms" in label for label in rows) and any("also=none" in label for label in rows)
    assert any("init=lora_ga" in label for label in rows)


@pytest.mark.parametrize("label", VARIANTS)
@pytest.mark.parametrize("merge", [False, True], ids=["as saved", "merged"])
def test_what_is_exported_computes_what_was_trained(out, tmp_path, label, merge):
    (options,) = VARIANTS[label].values()
    name = label.split()[0]
    (run,) = (path for path in (out / "runs").iterdir() if _is(path, name, options))
    exported = export(run, tmp_path / "model", merge=merge, **({"dtype": "fp32"} if merge else {}))
    assert exported.written.agreement.largest_logit_difference < (1e-4 if name == "qlora" and merge else 1e-5)
    if not merge and name in ("lora", "dora"):
        assert exported.written.peft.largest_logit_difference < 1e-5
        card = (tmp_path / "model" / "README.md").read_text()
        assert ('dtype="float32"' in card) == ("also" in options)


def _is(path, name, options):
    method = json.loads((path / "run.json").read_text())["method"]
    return (
        method["name"] == name
        and method.get("also", []) == options.get("also", [])
        and (method.get("init", "default") == options.get("init", "default"))
    )
