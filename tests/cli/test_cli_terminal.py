"""What every verb prints on a terminal fits it; what programs read stays as it is; nothing warns."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tunelab.launch import doctor
from tunelab.report.tables import display_width
from tunelab.stages import heard_by

LONG = """
name: long
model: {model}
tasks: [{{name: restaurants, train_rows: 24, test_rows: 6, metrics: [rouge_l]}}]
methods:
  - lora: {{rank: 2, alpha: 4, targets: "model.layers.0.self_attn.(q_proj|k_proj|v_proj|o_proj)", dropout: 0.05}}
  - lora: {{rank: 3, alpha: 9, targets: "model.layers.1.self_attn.(q_proj|k_proj|v_proj|o_proj)", dropout: 0.10}}
"""


@pytest.fixture
def terminal(command, monkeypatch):
    """As `command`, on a terminal of so many columns; colours and cursor movements are taken out."""

    def call(*arguments, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", "24")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: self is sys.stdout)
        answer = command(*arguments)
        return answer._replace(out=re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", answer.out).replace("\r", "\n"))

    return call


def widest(text: str) -> int:
    """Of lines that are no path alone, which is left whole."""
    return max(display_width(line) for line in text.splitlines() if len(line.split()) != 1)


@pytest.mark.parametrize("columns", [60, 80])
def test_plan_with_long_labels_fits_and_shows_every_column(terminal, finished, tmp_path, columns):
    file = tmp_path / "long.yaml"
    file.write_text(LONG.format(model=finished.file.parent / "llama"))
    answer = terminal("plan", file, columns=columns)
    assert answer.status == 0 and widest(answer.out) <= columns
    assert all(title in answer.out for title in ("Method", "Task", "Seed", "Rate", "Trained", "Total", "Reached"))


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("kind", ["methods", "metrics", "tasks", "models", "studies"])
def test_names_fit(terminal, kind, columns):
    answer = terminal("list", kind, columns=columns)
    assert answer.status == 0 and widest(answer.out) <= columns


def test_show_wraps_examples_counts_and_notes(terminal, command, finished):
    answer = terminal("show", finished.file, "--examples", 1, columns=50)
    assert answer.status == 0 and widest(answer.out) <= 50
    assert "supervised" in answer.out and "cut at 512" in " ".join(answer.out.split())


def test_show_a_run_wraps(terminal, finished):
    answer = terminal("show", finished.run("lora"), columns=50)
    assert answer.status == 0 and widest(answer.out) <= 50 and "effective optimizer:" in answer.out


def test_report_and_run_fit_and_show_every_metric(terminal, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = "out"
    shutil.copytree(finished.out, out)
    for arguments in (["report", out], ["run", finished.file, "--out", out, "--cluster", "in-process"]):
        answer = terminal(*arguments, columns=60)
        assert answer.status == 0 and widest(answer.out) <= 60, arguments
        assert "rouge_l ↑" in answer.out and "perplexity ↓" in answer.out and "Seeds" in answer.out
        assert "note: test: 6 rows with answers became 2 examples" in " ".join(answer.out.split())


def test_status_fits_and_names_every_run(terminal, finished):
    answer = terminal("status", finished.out, columns=60)
    assert answer.status == 0 and widest(answer.out) <= 60
    assert answer.out.count("finished") >= 3


def test_what_programs_read_is_one_object_also_on_a_terminal(terminal, finished):
    for arguments in (["plan", finished.file], ["list", "methods"], ["list", "runs", finished.out]):
        assert json.loads(terminal(*arguments, "--json", columns=40).out)


def test_runs_and_results_are_listed(command, finished):
    listed = command("list", "runs", finished.out)
    assert listed.status == 0
    for method in ("base", "full", "lora"):
        assert finished.run(method).name in listed.out
    found = json.loads(command("list", "runs", finished.out, "--json").out)["runs"]
    assert [run["method"] for run in found] == ["base", "full", "lora"]
    assert {run["state"] for run in found} == {"finished"} and all(run["score"] is not None for run in found)
    results = json.loads(command("list", "results", finished.out.parent, "--json").out)["results"]
    assert [(each["study"], each["states"]) for each in results] == [("small", {"finished": 3})]
    assert "small" in command("list", "results", finished.out.parent).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs"], "Give a results folder"),
        (["runs", "nowhere"], "nowhere: no results folder of `tunelab run`"),
        (["methods", "results"], "list methods takes no folder"),
    ],
)
def test_a_wrong_listing_is_one_line(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    answer = command("list", *arguments)
    assert answer.status == 2 and message in answer.err and answer.err.count("\n") == 1


@pytest.mark.slow
def test_doctor_prints_what_it_has_found_before_it_looks_further(command, monkeypatch, capsys):
    seen = []

    def hub():
        seen.append(capsys.readouterr().out)
        return False, "no network in tests"

    monkeypatch.setattr(doctor, "_hub_reachable", hub)
    answer = command("doctor")
    assert "packages" in seen[0] and "free disk gib" in seen[0] and "hub reachable" not in seen[0]
    assert answer.out.startswith("hub reachable"), "and the rest after it"


def test_stages_of_planning_name_methods_tasks_and_data(command, finished):
    told = []
    with heard_by(told.append):
        assert command("plan", finished.file).status == 0
    assert "checking tasks, reading their data: restaurants" in told
    assert "counting parameters: lora (2 of 2)" in told


def test_stages_of_a_run_go_through_the_data_and_its_overlap(command, finished):
    told = []
    with heard_by(told.append):
        assert command("show", finished.file, "--set", "tasks.0.train_rows=21").status == 0
    assert "reading the data of restaurants" in told
    assert "tokenising train of restaurants, looking for overlap" in told


def test_generate_tells_how_far_it_is(command, finished, tmp_path):
    prompts, told = tmp_path / "prompts.txt", []
    prompts.write_text("name = X\nname = Y\n")
    with heard_by(told.append):
        assert command("generate", finished.run("lora"), "--file", prompts, "--max-new-tokens", 2).status == 0
    assert f"loading {finished.run('lora')}" in told and "writing texts: 2 of 2" in told


@pytest.mark.slow
@pytest.mark.parametrize("method", ["base", "full", "lora"])
def test_generate_prints_the_text_and_no_warning(finished, method):
    """By torch's own defaults: a FutureWarning there would be shown to every user."""
    command = [sys.executable, "-W", "error::FutureWarning", "-m", "tunelab", "generate", str(finished.run(method))]
    done = subprocess.run([*command, "--prompt", "name = X", "--max-new-tokens", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if not line.endswith(" ...")], "but for what it is doing"


def test_what_init_says_fits(terminal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"What colour is café {n}, if it is red?;It is red, of course, said {n} of them;gut" for n in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["frage;antwort;label", *rows]), encoding="cp1252")
    answer = terminal("init", "--train", "rows.csv", columns=60)
    assert answer.status == 0 and widest(answer.out) <= 60 and "\n  " in answer.out
    assert "not UTF-8, read as cp1252" in " ".join(answer.out.split())


def test_scores_of_texts_fit(terminal, tmp_path):
    (tmp_path / "texts").write_text("the cat sat on a mat\n")
    answer = terminal("score", tmp_path / "texts", tmp_path / "texts", columns=60)
    assert answer.status == 0 and widest(answer.out) <= 60
    assert "version:" in answer.out and "n=1\n" in answer.out, "the signature stands below"


def test_an_error_is_wrapped_on_a_terminal_and_whole_elsewhere(terminal, command, monkeypatch):
    arguments = ("list", "methods", "a-folder-with-a-rather-long-name")
    whole = command(*arguments).err
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    monkeypatch.setenv("COLUMNS", "60")
    err = command(*arguments).err
    assert len(whole) > 80 and whole.count("\n") == 1
    assert widest(err) <= 60 and err.split() == whole.split()
