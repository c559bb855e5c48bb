"""One thing where several are wanted is an error with the way out, in every argument of the API that takes a list."""

import re

import pytest

import tunelab
from tunelab.errors import ConfigError

RUN = "results/small/runs/RUN"
STUDY = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["lora"]}


CALLS = [
    (lambda: tunelab.generate(RUN, "Hello"), "prompts: must be a list; got 'Hello'; write prompts=['Hello']"),
    (lambda: tunelab.generate(RUN, {"a": "b"}), "prompts: must be a list; got {'a': 'b'}; write prompts=[{'a': 'b'}"),
    (lambda: tunelab.generate(RUN, b"bytes"), "prompts: must be a list; got b'bytes'; write prompts=[b'bytes']"),
    (lambda: tunelab.generate(RUN, 3), "prompts: must be a list; got 3"),
    (lambda: tunelab.generate(RUN, ["a", None]), "prompts[1]: must be text, or a row as {column: value}; got None"),
    (lambda: tunelab.generate([RUN], ["a"]), f"model: must be a run's folder, a model folder or a name; got ['{RUN}"),
    (lambda: tunelab.load_study(STUDY, overrides="a=1"), "overrides: must be a list; got 'a=1'; write overrides=['a"),
    (lambda: tunelab.plan("quickstart", overrides={"seeds": 1}), "overrides: must be a list; got {'seeds': 1}"),
    (lambda: tunelab.run("quickstart", overrides="seeds=[0]"), "overrides: must be a list"),
    (lambda: tunelab.show("quickstart", overrides="seeds=[0]"), "overrides: must be a list"),
    (lambda: tunelab.evaluate(RUN, overrides="seeds=[0]"), "overrides: must be a list"),
    (lambda: tunelab.evaluate(RUN, tasks="gsm8k"), "tasks: must be a list; got 'gsm8k'; write tasks=['gsm8k']"),
    (lambda: tunelab.score(["a"], ["a"], metrics="bleu"), "metrics: must be a list; got 'bleu'; write metrics=['b"),
    (lambda: tunelab.score("a pub", ["a"]), "hypotheses: no such file: 'a pub'; texts themselves go in a list: hypo"),
    (lambda: tunelab.score(["a"], "a pub"), "references: no such file: 'a pub'; texts themselves go in a list: refe"),
    (lambda: tunelab.score("long " * 2000, ["a"]), "hypotheses: no such file: 'long long"),
    (lambda: tunelab.score(["a", 3], ["a", "b"]), "hypotheses[1]: must be text; got 3"),
    (lambda: tunelab.score(["a"], [[None]]), "references[0][0]: must be text; got None"),
    (lambda: tunelab.report(["a", "b"]), "report: folders are given one by one, as in report(*folders); got ['a', 'b'"),
    (lambda: tunelab.report(), "report: of which results?"),
    (lambda: tunelab.plan(["quickstart"]), "study: must be a path; got ['quickstart']"),
    (lambda: tunelab.run(STUDY, cluster="inprocess"), "cluster: must be 'local' or 'slurm' or 'in-process'; got 'in"),
    (lambda: tunelab.run(STUDY, until="decide"), "until: must be 'decided'; got 'decide'. Did you mean 'decided'?"),
    (lambda: tunelab.export(RUN, "there", dtype="half"), "dtype: must be 'fp32' or 'bf16' or 'fp16'; got 'half'"),
    (lambda: tunelab.init([5]), "train: must be a path; got 5"),
    (lambda: tunelab.show(), "show what? Give a study or a run's folder, or rows=FILE"),
    (lambda: tunelab.show("quickstart", rows="a.csv"), "show what?"),
]


@pytest.mark.parametrize(("call", "problem"), CALLS)
def test_it_is_one_error_with_the_way_out(call, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="^" + re.escape(problem)) as error:
        call()
    assert len(error.value.problems) == 1
    assert not list(tmp_path.iterdir())


def test_anything_that_can_be_gone_through_is_a_list():
    scores = tunelab.score((text for text in ["a pub"]), ("a pub",), metrics={"rouge_1": None}.keys())
    assert scores["rouge_1"].value == 1.0


def test_a_file_of_that_name_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").write_text("a pub\n")
    assert tunelab.score("outputs", ["a pub"], metrics=["rouge_1"])["rouge_1"].value == 1.0
