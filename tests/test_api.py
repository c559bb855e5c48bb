"""The Python API: light to import, the same functions that the command line calls, every example in it executed."""

import doctest
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tunelab

NAMES = {
    "evaluate",
    "export",
    "generate",
    "init",
    "load_study",
    "memory",
    "plan",
    "report",
    "run",
    "score",
    "show",
    "time",
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.slow
def test_importing_tunelab_imports_nothing_heavy():
    heavy = {"torch", "transformers", "numpy", "pydantic", "rich", "pandas", "IPython"}
    code = f"import sys, tunelab; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_named_is_there_and_callable():
    assert set(tunelab.__all__) == NAMES
    assert all(callable(getattr(tunelab, name)) for name in tunelab.__all__)
    assert all(name in tunelab.__doc__ for name in NAMES - {"load_study", "show"})


@pytest.mark.parametrize("name", ["report", "export"])
def test_a_function_beside_a_folder_of_its_name_stays_a_function(name):
    import tunelab.export.card
    import tunelab.report.tables

    assert callable(tunelab.report.tables.plain) and callable(tunelab.export.card.card_text)
    assert callable(getattr(tunelab, name))
    assert "out" in inspect.signature(tunelab.report).parameters
    assert "merge" in inspect.signature(tunelab.export).parameters
    assert "Raises:" in getattr(tunelab, name).__doc__


def test_overrides_reach_the_study():
    assert tunelab.load_study("quickstart", overrides=["seeds=[7]"]).study.seeds == (7,)


# ------------------------------------------------------------------ the examples of the docstrings


def function(name):
    return inspect.unwrap(getattr(tunelab, name))


def run_examples(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    known = {"tunelab": tunelab, "json": json, "Path": Path}
    (found,) = [
        each for each in doctest.DocTestFinder(recurse=False).find(function(name), name, globs=known) if each.examples
    ]  # fmt: skip
    failed = doctest.DocTestRunner(optionflags=FLAGS).run(found).failed
    assert not failed, capsys.readouterr().out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """results/small of the example of `run`, its trained run also as runs/RUN, which the other examples name."""
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (example,) = [
            each for each in doctest.DocTestParser().get_examples(function("run").__doc__) if "{" in each.source
        ]
        known = {}
        exec(example.source, known)
        outcome = tunelab.run(known["study"], cluster="in-process")
        shutil.copytree(outcome.run_folder("lora"), "results/small/runs/RUN")
    return folder


@pytest.mark.parametrize("name", ["load_study", "plan", "memory", "time", "score", "init"])
def test_the_light_examples_say_what_they_show(name, tmp_path, monkeypatch, capsys):
    run_examples(name, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_the_example_of_run_says_what_it_shows(tmp_path, monkeypatch, capsys):
    run_examples("run", tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "generate", "evaluate", "export", "show"])
def test_the_examples_on_a_finished_study_say_what_they_show(name, finished, monkeypatch, capsys):
    (finished / "sums.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    run_examples(name, finished, monkeypatch, capsys)


def test_every_function_has_an_example():
    for name in NAMES:
        assert ">>> " in function(name).__doc__, name


@pytest.mark.slow
def test_the_snippet_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    known = {}
    exec(snippet, known)
    assert "Report: results/replies/report.html" in capsys.readouterr().out
    assert (tmp_path / "exported" / "model.safetensors").exists()
    assert known["lora"].parent == Path("results/replies/runs") and "seed1" in known["lora"].name


def test_the_page_has_every_function():
    page = (Path(__file__).resolve().parents[1] / "docs" / "python.md").read_text()
    assert NAMES <= set(re.findall(r"^\| `tunelab\.(\w+)\(", page, re.MULTILINE))
