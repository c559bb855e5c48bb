"""A study as a dict: the same study as its YAML, and problems named by the path of the key."""

from pathlib import Path

import numpy as np
import pytest

from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import make_plan

MINIMAL = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["lora"]}


def problems(**study):
    with pytest.raises(ConfigError) as error:
        make_plan(read_study(given=study, lenient=True))
    return error.value.problems


def test_a_dict_is_the_study_that_its_yaml_is():
    given = {
        "name": "mine", "model": "tunelab/tiny", "tasks": [{"name": "restaurants", "train_rows": 50}],
        "methods": [{"lora": {"rank": 4, "learning_rate": 1e-3}}, "full"], "seeds": (0, 1), "budget": {"steps": 2},
    }  # fmt: skip
    text = """
name: mine
model: tunelab/tiny
tasks: [{name: restaurants, train_rows: 50}]
methods: [{lora: {rank: 4, learning_rate: 1e-3}}, full]
seeds: [0, 1]
budget: {steps: 2}
"""
    assert read_study(given=given).config == read_study(text=text).config


def test_what_python_has_beside_yaml_is_taken_as_it_is_meant():
    study = {
        **MINIMAL,
        "seeds": range(2),
        "batch": {"examples": np.int64(4)},
        "loss": {"label_smoothing": np.float32(0)},
    }
    config = read_study(given=study).config
    assert (config.seeds, config.batch.examples) == ((0, 1), 4)


def test_the_callers_dict_is_not_changed():
    study = {**MINIMAL, "methods": [{"lora": {"rank": 4}}]}
    read_study(given=study, overrides=["methods.0.lora.rank=8"])
    assert study["methods"] == [{"lora": {"rank": 4}}] and study["model"] == "tunelab/tiny"


def test_relative_paths_are_the_working_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "test"):
        rows = (f'{{"question": "{name} {number}", "answer": "b"}}\n' for number in range(4))
        Path(f"{name}.jsonl").write_text("".join(rows))
    task = {"name": "mine", "train": Path("train.jsonl"), "test": "test.jsonl"}
    study = {**MINIMAL, "tasks": [{**task, "prompt": "{question}", "target": "{answer}"}]}
    assert make_plan(read_study(given=study)).tasks[0].options["train"] == str(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"batch": {"exampels": 3}}, "batch.exampels: unknown key; did you mean 'examples'? Keys: "),
        ({"methods": [{"lora": {"rnk": 3}}]}, "methods.0.lora.rnk: unknown key; did you mean 'rank'?"),
        ({"methods": ["lora", "lora"]}, "methods.1: 'lora' stands there twice (first at methods.0); delete one"),
        ({"seeds": "0"}, "seeds: must be a list; got '0'"),
        ({"tasks": "restaurants"}, "tasks: must be a list; got 'restaurants'"),
        ({"model": None}, "model: "),
        ({"optimizer": {"betas": (0.9, float("nan"))}}, "optimizer.betas.1: must be a finite number; got nan"),
        ({"optimizer": {"eps": np.ones(3)}}, "optimizer.eps: must be text, a number, True, False, None, a list or a"),
        ({"batch": {3: 4}}, "batch: the key 3 must be text; put it in quotes"),
        ({"name": "\ud800"}, "name: holds half a character"),
    ],
)
def test_a_problem_names_the_path_of_its_key(changes, problem):
    found = problems(**{**MINIMAL, **changes})
    assert found[0].startswith(problem), found


def test_what_is_missing_is_named_all_at_once():
    assert problems(name="mine") == tuple(
        f"{key}: required, and not given" for key in ("model", "tasks", "methods")
    )  # fmt: skip
    assert problems() == ("the study is empty; it needs model, tasks and methods",)


def test_an_override_of_a_dict_is_named_as_one():
    with pytest.raises(ConfigError, match=r"^--set batch.exampels=3: unknown key; did you mean 'examples'"):
        read_study(given=MINIMAL, overrides=["batch.exampels=3"])


def test_a_dict_that_contains_itself_is_refused():
    study = dict(MINIMAL)
    study["batch"] = study
    assert problems(**study)[0].startswith("the study: ")


def test_a_raw_string_that_was_meant_as_a_line_break_is_noted():
    study = {**MINIMAL, "tasks": [{"name": "mine", "train": r"C:\new", "prompt": r"{a}\n", "target": "{b}"}]}
    (note,) = read_study(given=study).notes
    assert note.startswith(r"tasks.0.prompt: holds \n or \t as two characters") and "without r before" in note
