"""Studies with both back ends, as a user runs them: the same losses, texts and models, and what a killed run leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock
from peft import PeftModel
from transformers import AutoModelForCausalLM

import tiny
from tunelab.export.export import export
from tunelab.models.load import EMBEDDED
from tunelab.study.store import RunFolder

pytestmark = pytest.mark.slow

TASK = {
    "name": "restaurants", "train_rows": 96, "validation_rows": 8, "test_rows": 12,
    "metrics": ["rouge_l", "perplexity"], "generation": {"max_new_tokens": 16},
}  # fmt: skip
STEPS = 200


def study(model, *methods, **more):
    batch = {"examples": 2, "max_tokens": 256, "max_length": 64}
    facts = {"name": "both", "model": str(model), "backends": ["torch", "jittor"], "tasks": [TASK], "methods": methods}
    return {**facts, "seeds": [0], "budget": {"steps": STEPS}, "batch": batch, "threads": 1, **more}


def tunelab(*arguments, **options):
    done = subprocess.run(
        [sys.executable, "-m", "tunelab", *map(str, arguments)], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def executed(folder: Path, facts) -> Path:
    (folder / "study.yaml").write_text(yaml.safe_dump(facts))
    tunelab("run", folder / "study.yaml", "--out", folder / "out", timeout=900)
    return folder / "out"


def runs(out: Path, method: str) -> tuple[RunFolder, RunFolder]:
    """By torch, by Jittor."""
    paths = sorted((out / "runs").glob(f"{method}--*"), key=lambda path: "--jittor--" in path.name)
    first, second = map(RunFolder, paths)
    return first, second


def once(factory, name, make) -> Path:
    """A minute's work that all processes of the suite share: the first makes it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "out" / "report.html").exists():
            folder.mkdir()
            make(folder)
    return folder / "out"


@pytest.fixture(scope="module")
def llama(jittor, tmp_path_factory):
    methods = {"lora": {"rank": 4, "learning_rate": 1e-3}}, {"full": {"learning_rate": 3e-4}}
    return once(tmp_path_factory, "llama", lambda folder: executed(folder, study("tunelab/tiny", *methods)))


@pytest.fixture(scope="module")
def gpt2(jittor, tmp_path_factory):
    parts = {"rank": 4, "alpha": 32.0, "targets": ["c_attn.q", "c_attn.v"], "learning_rate": 2e-3}
    methods = {"lora": parts}, {"full": {"learning_rate": 5e-4}}
    more = {"optimizer": {"weight_decay": 0.1, "clip": 0.5}, "loss": {"label_smoothing": 0.1}}

    def make(folder):
        tiny.model_folder(folder / "model", "gpt2", n_embd=64, n_layer=3)
        executed(folder, study(folder / "model", *methods, **more))

    return once(tmp_path_factory, "gpt2", make)


@pytest.mark.parametrize(("method", "limit"), [("lora", 1e-4), ("full", 1e-3)])
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_losses_agree_at_every_step(request, model, method, limit):
    by_torch, by_jittor = (folder.steps() for folder in runs(request.getfixturevalue(model), method))
    assert len(by_torch) == len(by_jittor) == STEPS
    losses = np.array([[step.loss for step in steps] for steps in (by_torch, by_jittor)])
    assert np.abs(losses[0] - losses[1]).max() < limit * losses[0].min()
    assert losses[0][-20:].mean() < losses[0][0] - 0.1, "it has learned something"
    rates = [
        [(step.learning_rate, step.num_tokens, step.num_supervised_tokens) for step in s] for s in (by_torch, by_jittor)
    ]
    assert rates[0] == rates[1]
    norms = [[step.grad_norm for step in steps] for steps in (by_torch, by_jittor)]
    assert norms[0] == pytest.approx(norms[1], rel=2e-2)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_nothing_is_compiled_after_the_first_steps(request, model, method):
    kernels = [step.num_kernels for step in runs(request.getfixturevalue(model), method)[1].steps()]
    assert kernels[0] > 30 and kernels[-1] <= kernels[4] + 3, "a batch of one row, or a row of one token, is another"
    assert all(step.num_kernels is None for step in runs(request.getfixturevalue(model), method)[0].steps())


@pytest.mark.parametrize("method", ["base", "lora", "full"])
def test_scores_agree(llama, method):
    by_torch, by_jittor = (folder.read_result() for folder in runs(llama, method))
    assert by_jittor.backend == "jittor" and "jittor" in by_jittor.provenance.packages
    assert "torch" not in by_jittor.provenance.packages
    assert by_jittor.scores["perplexity"].value == pytest.approx(by_torch.scores["perplexity"].value, rel=1e-3)
    assert by_jittor.scores["rouge_l"].value == pytest.approx(by_torch.scores["rouge_l"].value, abs=0.02)
    assert by_jittor.trainable_parameters == by_torch.trainable_parameters
    assert by_jittor.optimizer == by_torch.optimizer
    assert set(by_jittor.phases) == set(by_torch.phases)


def test_the_report_says_whether_they_agree(llama):
    found = json.loads((llama / "comparison.json").read_text())["alignment"]
    assert found and "Alignment" in (llama / "report.html").read_text()


def test_its_models_are_evaluated_asked_and_exported_by_torch(llama, tmp_path):
    _, by_jittor = runs(llama, "lora")
    trained = by_jittor.read_result()
    tunelab("evaluate", by_jittor.path, "--out", tmp_path / "again", timeout=300)
    again = json.loads(next((tmp_path / "again").rglob("result.json")).read_text())
    assert again["scores"]["perplexity"]["value"] == pytest.approx(trained.scores["perplexity"].value, rel=1e-4)
    assert "trained by jittor; here torch computes" in again["notes"]
    assert tunelab("generate", by_jittor.path, "--prompt", "name[Aromi], eatType[pub]", timeout=300).strip()
    for merge in (False, True):
        exported = export(by_jittor.path, tmp_path / f"out-{merge}", merge=merge, dtype="fp32" if merge else None)
        assert exported.written.agreement.share_of_largest_logit < 1e-4
        assert any(note.startswith("trained by jittor") for note in exported.written.notes)
        assert "jittor 1.3.11.0" in (exported.folder / "README.md").read_text()
    base = AutoModelForCausalLM.from_pretrained(EMBEDDED["tunelab/tiny"], dtype="float32")
    assert PeftModel.from_pretrained(base, tmp_path / "out-False").peft_config["default"].r == 4


def test_a_whole_model_is_exported(llama, tmp_path):
    exported = export(runs(llama, "full")[1].path, tmp_path / "whole", merge=True, dtype="fp32")
    assert exported.written.agreement.share_of_largest_logit < 1e-4
    AutoModelForCausalLM.from_pretrained(tmp_path / "whole")


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(jittor, tmp_path):
    """With dropout, whose draws must come again. Nothing of the killed processes stays."""
    facts = study(
        "tunelab/tiny", {"lora": {"rank": 4, "dropout": 0.1}},
        backends=["jittor"], budget={"steps": 12}, checkpoint={"seconds": 0},
    )  # fmt: skip
    (tmp_path / "whole").mkdir()
    whole = executed(tmp_path / "whole", facts)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(facts))
    command = [sys.executable, "-m", "tunelab", "run", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not any(
        len(file.read_text().splitlines()) >= 5 for file in (tmp_path / "out").glob("runs/lora--*/steps.jsonl")
    ):
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (path,) = (tmp_path / "out" / "runs").glob("lora--*")
    assert 5 <= len((path / "steps.jsonl").read_text().splitlines()) < 12 and not RunFolder(path).finished
    time.sleep(1)
    assert not alive(str(path)), "workers and compilers die with who started them"
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    (other,) = (whole / "runs").glob("lora--*")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (path / "model" / name).read_bytes() == (other / "model" / name).read_bytes()
    assert [step.loss for step in RunFolder(path).steps()] == [step.loss for step in RunFolder(other).steps()]


def alive(argument: str) -> list[str]:
    """Processes with such an argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if argument in command:
            found.append(command)
    return found
