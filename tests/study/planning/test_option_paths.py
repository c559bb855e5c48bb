"""Options that are paths, in a task's own fields and in the mappings below them."""

import json

import pytest

from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import identity, make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import base_run


def chat(number: int) -> str:
    messages = [{"role": role, "content": f"{role} {number}"} for role in ("user", "assistant")]
    return json.dumps({"dataset": "x", "id": str(number), "messages": messages})


STUDY = """
model: tunelab/tiny
tasks:
  - instructions: {{sources: [tulu_v2], tulu_v2: {{path: {path}}}}}
methods: [full]
"""


def study(path: str) -> str:
    return STUDY.format(path=path).replace("instructions: {", "{name: instructions, ")


def plan(folder, path: str):
    return make_plan(read_study(text=study(path), base_folder=folder))


def write_rows(folder):
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(f"{chat(row)}\n" for row in range(30)))


def test_a_path_inside_an_option_s_mapping_is_relative_to_the_study(tmp_path):
    write_rows(tmp_path / "data/tulu")
    made = plan(tmp_path, "data/tulu")
    assert made.tasks[0].task.tulu_v2.path == tmp_path / "data/tulu"
    assert made.study.tasks[0]["tulu_v2"]["path"] == str(tmp_path / "data/tulu")


def test_one_given_by_set_is_relative_to_the_working_folder(tmp_path, monkeypatch):
    write_rows(tmp_path / "here/tulu")
    monkeypatch.chdir(tmp_path / "here")
    read = read_study(text=study("nowhere"), base_folder=tmp_path, overrides=["tasks.0.tulu_v2.path=tulu"])
    assert make_plan(read).tasks[0].task.tulu_v2.path == tmp_path / "here/tulu"


def test_moving_the_folder_does_not_change_a_run_s_identity(tmp_path):
    found = set()
    for place in ("one", "two"):
        write_rows(tmp_path / place / "tulu")
        made = plan(tmp_path / place, "tulu")
        found.add(identity(base_run(made, made.tasks[0], "torch", Revisions())))
    assert len(found) == 1


def test_a_wrong_option_of_one_set_is_named_with_its_place(tmp_path):
    text = study("x").replace("path: x", "pth: x")
    with pytest.raises(ConfigError) as error:
        make_plan(read_study(text=text, base_folder=tmp_path))
    assert str(error.value).startswith("study text:4: tasks.0.tulu_v2.pth: unknown key; did you mean 'path'?")
