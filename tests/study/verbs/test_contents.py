"""`tunelab list runs` and `list results`: what lies in results, from records alone."""

import json

import pytest

from launch.control.test_status import Started
from report.study_folder import write_study
from tunelab.errors import ConfigError
from tunelab.launch.terminal.contents_text import results_table, runs_table
from tunelab.report.tables import display_width
from tunelab.study.verbs import contents


@pytest.fixture
def small(tmp_path):
    """As a study leaves it: one run failed, one is not there, one was searched."""
    folder = tmp_path / "results" / "small"
    write_study(folder, tasks=("restaurants",))
    (folder / "study.yaml").write_text("name: small\nmodel: {name: tunelab/tiny}\n")
    return folder


def test_every_run_is_listed_with_its_setting_state_score_loss_size_and_path(small):
    found = contents.runs(small)
    assert (found[0].method, found[-1].method) == ("base", None)
    full = next(run for run in found if run.method == "full")
    result = json.loads((small / "runs" / "full-restaurants-0-0.0002" / "result.json").read_text())
    assert (full.task, full.seed, full.state, full.metric) == ("restaurants", 0, "finished", "rouge_l")
    assert (full.score, full.validation_loss) == (result["scores"]["rouge_l"]["value"], result["validation_loss"])
    assert full.mib > 0 and full.path.endswith("runs/full-restaurants-0-0.0002")


def test_the_metric_that_decides_is_the_studys(small):
    (small / "study.yaml").write_text("name: small\ndecision: {metric: loss}\n")
    assert {run.metric for run in contents.runs(small) if run.state == "finished"} == {"loss"}


def test_a_failed_run_without_a_configuration_is_listed_as_unreadable(small):
    states = {run.path.rpartition("/")[2]: run.state for run in contents.runs(small)}
    assert states["full-restaurants-1-0.0002"] == "unreadable", "its run.json is not there"


def test_states_of_unfinished_runs(tmp_path):
    started = Started(tmp_path / "out")
    started["lora 3"].write_failure("no memory")
    (started["full 3 0.001"].path / "result.json").write_text("{")
    (started["full 3 0.0003"].path / "validation.jsonl").write_text('{"loss": 2.5, "step": 4}\n')
    with started["lora 4"].lock() if "lora 4" in started.runs else started["full 3 0.0003"].lock():
        found = {run.path: run for run in contents.runs(tmp_path / "out")}
        states = [run.state for run in found.values()]
    assert "failed" in states and "running" in states
    assert found[str(started["full 3 0.0003"].path)].validation_loss == 2.5
    assert found[str(started["base 3"].path)].state == "waiting"


def test_results_of_a_folder_are_counted(small):
    (found,) = contents.results(small.parent)
    assert (found.study, found.tasks, found.model, found.report) == ("small", ("restaurants",), "tunelab/tiny", False)
    assert found.num_runs == sum(found.states.values()) and found.states["finished"] > 3
    assert contents.results(small) == [found], "the folder itself may be named too"


def test_what_is_no_results_folder_is_told_with_what_is_there(small, tmp_path):
    with pytest.raises(ConfigError, match="it holds results of small"):
        contents.runs(small.parent)
    with pytest.raises(ConfigError, match="no results folder"):
        contents.runs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no such folder"):
        contents.results(tmp_path / "nowhere")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_both_tables_fit_the_terminal(small, width, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = small.relative_to(tmp_path)
    for text in (
        runs_table(small, contents.runs(small), width=width),
        results_table(small.parent, contents.results(small.parent), width=width),
    ):
        assert max(map(display_width, text.splitlines())) <= width
    assert "full-restaurants-0-0.0002" in runs_table(small, contents.runs(small), width=None)
