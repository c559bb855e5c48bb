"""Names that become names of files: what is refused, what falls together, and how long a run's folder may be called."""

import json

import pytest

from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.files import file_key, name_problem
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import base_run, method_run
from tunelab.study.store import RunFolder

HOSTILE = {
    "../../esc": "'/' cannot stand",
    "/tmp/esc": "'/' cannot stand",
    "a\\b": "cannot stand",
    "..": "may not begin or end with a dot",
    ".hidden": "may not begin or end with a dot",
    "dot.": "may not begin or end with a dot",
    "": "an empty name",
    "  ": "an empty name",
    "a\nb": "cannot stand",
    "a\0b": "cannot stand",
    "\x1b[31mred": "cannot stand",
    "\u202egpj": "cannot stand",
    "x" * 300: "a name of 300 bytes",
    "é" * 60: "a name of 120 bytes",
    "CON": "a device on Windows",
    "aux.json": "a device on Windows",
}


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"q": f"question {n}", "a": f"answer {n}"}) + "\n" for n in range(40)))
    return file


def plan_with(rows, *names, methods=("lora",)):
    task = {"train": str(rows), "test": str(rows), "prompt": "{q}", "target": "{a}", "metrics": ["loss"]}
    study = {"name": "s", "model": "tunelab/tiny", "tasks": [{"name": name, **task} for name in names]}
    return make_plan(read_study(text=json.dumps({**study, "methods": list(methods)})))


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_a_tasks_name_that_could_lead_elsewhere_is_refused_with_the_rule(name, rows):
    with pytest.raises(ConfigError, match="tasks.0") as refused:
        plan_with(rows, name)
    assert HOSTILE[name] in str(refused.value)


@pytest.mark.parametrize("name", ["mine", "my replies (2)", "réponses", "日本語", "a.b-c_d", "v1.0", "conserve"])
def test_other_names_stay(name, rows):
    assert name_problem(name) is None
    assert plan_with(rows, name).tasks[0].name == name


@pytest.mark.parametrize("names", [("Mine", "mine"), ("caf\u00e9", "cafe\u0301"), ("STRASSE", "straße")])
def test_names_that_are_one_file_somewhere_are_refused(names, rows):
    assert file_key(names[0]) == file_key(names[1])
    with pytest.raises(ConfigError, match="stands there twice"):
        plan_with(rows, *names)


def test_a_long_label_is_cut_in_the_folders_name_and_two_of_them_stay_apart(rows, tmp_path):
    targets = [f"(model[.]layers[.]0[.]self_attn[.]q_proj|{'x' * 400}{end})" for end in "ab"]
    plan = plan_with(rows, "m" * 100, methods=[{"lora": {"targets": each}} for each in targets])
    runs = [
        method_run(plan, plan.tasks[0], "torch", Revisions(), method=each, seed=0, candidate=each.candidates[0])
        for each in plan.methods
    ]
    assert [len(run.id.encode()) for run in runs] == [200, 200] and runs[0].id != runs[1].id
    assert all("--seed0--" in run.id for run in runs)
    folder = RunFolder(tmp_path / "runs" / runs[0].id)
    folder.ensure_run(runs[0])
    assert folder.read_run() == runs[0]
    short = base_run(plan, plan.tasks[0], "torch", Revisions())
    assert short.id.startswith(f"base--{'m' * 100}--seed0--")
