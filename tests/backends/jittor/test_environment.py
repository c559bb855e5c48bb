"""Planning with Jittor where it is not prepared, and what is said of that. No Jittor is needed."""

import subprocess
import sys

import pytest
import yaml

import tunelab
from tunelab.backends.jittor import environment
from tunelab.errors import ConfigError, RunError
from tunelab.launch.doctor import prepare
from tunelab.launch.view import View
from tunelab.study.planning.rehearse import rehearse, rehearsed

TASK = {"name": "restaurants", "train_rows": 8, "validation_rows": 4, "test_rows": 4, "metrics": ["perplexity"]}


@pytest.fixture
def unprepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNELAB_JITTOR", str(tmp_path / "nothing"))
    monkeypatch.setattr(environment, "_unfit", lambda: "")
    monkeypatch.setattr(environment, "machine", lambda: "this one")


def study(folder, **more):
    facts = {"name": "s", "model": "tunelab/tiny", "backends": ["torch", "jittor"], "tasks": [TASK]}
    (folder / "study.yaml").write_text(yaml.safe_dump({**facts, "methods": ["lora"], "budget": {"steps": 2}, **more}))
    return folder / "study.yaml"


def test_a_plan_needs_no_jittor(tmp_path, unprepared):
    runs = tunelab.plan(study(tmp_path, methods=["lora", "galore"])).runs
    trained = {(run.method, run.backend) for run in runs if run.method != "base"}
    assert trained == {("lora", "torch"), ("galore", "torch"), ("lora", "jittor")}
    counts = {run.backend: (run.trainable_parameters, run.reached_parameters) for run in runs if run.method == "lora"}
    assert counts["torch"] == counts["jittor"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backends": ["jittor"], "methods": ["galore"]}, "jittor cannot train it; add a back end that can"),
        ({"precision": "bf16"}, "jittor computes in fp32, and precision is bf16; set it to fp32"),
        ({"activation_checkpointing": True}, "jittor has none"),
        ({"evaluation": {"harness": ["piqa"]}}, "the harness asks models of torch"),
        ({"launch": {"devices": 2}}, "jittor trains on one device"),
        ({"methods": [{"lora": {"init": "pissa"}}]}, "init: pissa needs torch"),
        ({"methods": [{"full": {"optimizer": "adafactor"}}]}, "optimizer: adafactor needs torch"),
    ],
)
def test_what_it_cannot_do_is_refused_while_planning(tmp_path, unprepared, changes, says):
    with pytest.raises(ConfigError, match=says):
        tunelab.plan(study(tmp_path, **changes))


def test_a_run_is_refused_before_anything_is_executed_or_compiled(tmp_path, unprepared):
    with pytest.raises(ConfigError) as error:
        tunelab.run(study(tmp_path), out=tmp_path / "out")
    assert str(error.value).endswith(
        "jittor is not prepared on this machine; tunelab doctor --prepare jittor (some minutes); "
        "or without it: --set backends=[torch]"
    )
    assert not (tmp_path / "out" / "runs").exists() and not (tmp_path / "nothing").exists()


def test_a_rehearsal_leaves_it_out_and_says_so(tmp_path, unprepared):
    plan = rehearse(tunelab.load_study(study(tmp_path)), tmp_path / "rehearsal")
    assert plan.study.backends == ("torch",)
    assert any(said.startswith("left out: jittor is not prepared") for said in rehearsed(tmp_path / "rehearsal"))


def test_a_rehearsal_of_nothing_else_is_refused(tmp_path, unprepared):
    with pytest.raises(ConfigError, match="jittor is not prepared on this machine"):
        rehearse(tunelab.load_study(study(tmp_path, backends=["jittor"])), tmp_path / "rehearsal")


def test_another_preparation_is_no_preparation(tmp_path, unprepared):
    (tmp_path / "nothing" / "older").mkdir(parents=True)
    (tmp_path / "nothing" / "older" / environment.READY.format("x")).touch()
    assert "was prepared for other versions of Python or packages, another compiler" in environment.missing()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("platform.system", lambda: "Darwin", "jittor runs on Linux on x86_64 here, and this is Darwin"),
        ("shutil.which", lambda name: None, r"there is no g\+\+: apt-get install g\+\+"),
        ("python_config", lambda: None, "install python3-dev"),
        ("PYTHONS", ((2, 0), (2, 7)), "jittor needs a Python from 3.10 to 3.12"),
    ],
)
def test_what_no_preparation_mends_is_said_first(tmp_path, monkeypatch, name, value, says):
    monkeypatch.setenv("TUNELAB_JITTOR", str(tmp_path / "nothing"))
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/usr/bin/g++")
    monkeypatch.setattr(environment, "python_config", lambda: tmp_path)
    *module, last = name.split(".")
    monkeypatch.setattr(getattr(environment, module[0]) if module else environment, last, value)
    with pytest.raises(RunError, match=says):
        environment.prepare(print)
    assert environment.missing() and not (tmp_path / "nothing").exists()


def test_what_is_prepared_is_a_back_end():
    with pytest.raises(ConfigError, match="no back end is called 'jitor'. Did you mean 'jittor'"):
        prepare("jitor", told=print)
    told: list[str] = []
    prepare("torch", told=told.append)
    assert told == ["torch: nothing to prepare, it is in tunelab's own environment"]


def test_its_environment_has_no_torch_and_an_older_numpy():
    found = environment.environment().requirements
    names = {line.split("==")[0].split(">")[0] for line in found}
    assert {"jittor", "numpy", "transformers", "sacrebleu"} <= names and not names & environment.NOT_THERE - {"numpy"}
    assert "numpy>=1.26,<2" in found


@pytest.mark.slow
def test_no_file_that_its_runs_import_needs_torch():
    """Where torch cannot be imported, all that the worker and a study's tasks, data and metrics need is."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "peft", "bitsandbytes", "matplotlib", "typer", "rich"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import tunelab.launch.worker, tunelab.models.beams, tunelab.models.decoding, tunelab.models.generation_file
from tunelab import catalogue
for kind in ("tasks", "metrics"):
    for name in catalogue.names(kind):
        catalogue.load(kind, name)
for name in ("full", "lora"):
    catalogue.load("methods", name)()
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr[-2000:]


def test_a_study_of_both_takes_a_precision_that_both_have(tmp_path, unprepared, monkeypatch):
    from tunelab.backends.torch.backend import TorchHf
    from tunelab.launch.run import settle
    from tunelab.study.store import Store

    told: list[str] = []
    monkeypatch.setattr(TorchHf, "resolve", lambda self, precision, threads: ("bf16", 1))
    view = View.__new__(View)
    view.told = told.append
    plan, revisions = settle(tunelab.load_study(study(tmp_path)), Store(tmp_path / "out"), view=view)
    assert plan.study.precision == revisions.precision == "fp32"
    assert told == ["precision: auto is fp32 for all, as jittor has no other."]
