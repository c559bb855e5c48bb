"""Results of a study in Python: text for a terminal, escaped tables for a notebook, data frames, folders, pictures."""

import re

import pytest

import tunelab
from api.tags import Tags
from report.study_folder import HOSTILE, METRICS, write_study
from tunelab.api.study_results import SideBySide, StudyComparison, StudyOutcome, Told
from tunelab.errors import ConfigError
from tunelab.launch.run import Outcome
from tunelab.report.frame import build_comparison
from tunelab.report.write import write_report
from tunelab.study.planning.rehearse import REHEARSED


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    written = write_report(write_study(folder), metrics=METRICS, folder=folder, config_facts={})
    return StudyComparison.of(written, folder=folder)


def test_a_plan_is_a_table_everywhere():
    plan = tunelab.plan("quickstart")
    assert "Method" in repr(plan) and "lora" in str(plan)
    assert plan.study == "quickstart" and len(plan.runs) == 5
    tags = Tags(plan._repr_html_())
    assert tags.opened.count("tr") == 6 and "quickstart: 5 runs on tunelab/tiny-seq2seq" in tags.text
    frame = plan.to_pandas()
    assert list(frame["method"]) == ["base", "full", "lora", "full", "lora"]
    assert frame["trainable_parameters"][1] == 2_886_656


def test_a_comparison_prints_the_verdict_and_the_table(compared):
    for text in (repr(compared), Tags(compared._repr_html_()).text):
        assert "lora r=8" in text and "as good" in text and "restaurants" in text
        assert "Keep" in text or "keep" in text
        assert str(compared.folder / "report.html") in text
        assert "FAILED full-restaurants-1-0.0002: the loss is not finite" in text


def test_hostile_text_stays_text(compared):
    for shown in (compared, compared.examples(2)):
        html = shown._repr_html_()
        assert not {"script", "svg"} & set(Tags(html).opened)
    assert HOSTILE in Tags(compared.examples(2)._repr_html_()).text


def test_a_row_of_the_data_frame_is_a_row_of_the_report_with_its_run_folders(compared):
    frame = compared.to_pandas()
    assert len(frame) == len(compared.rows)
    row = frame[(frame["method"] == "lora r=8") & (frame["task"] == "headlines")].iloc[0]
    assert row["rouge_l_low"] < row["rouge_l"] < row["rouge_l_high"] and row["rouge_l_word"] == "as good"
    assert [folder.name for folder in row["run_folders"]] == [
        "lora-r8-headlines-0-0.0003",
        "lora-r8-headlines-1-0.0003",
    ]
    assert all((folder / "result.json").exists() for folder in row["run_folders"])
    spoilt = frame[(frame["method"] == "full") & (frame["task"] == "restaurants")].iloc[0]
    assert len(spoilt["run_folders"]) == spoilt["num_seeds"] == 1 and len(spoilt["failures"]) == 1


def test_comparison_json_has_the_ids_of_the_runs(compared):
    row = next(row for row in compared.as_json()["rows"] if row["method"] == "lora r=4" and row["task"] == "headlines")
    assert row["runs"] == ["lora-r4-headlines-0-0.0002", "lora-r4-headlines-1-0.0002"]
    assert "run_folders" not in row


def test_a_run_folder_is_found_by_method_task_and_seed(compared):
    assert compared.run_folder("full").name == "full-restaurants-0-0.0002"
    assert compared.run_folder("full", task="headlines", seed=1).name == "full-headlines-1-0.0002"
    assert compared.run_folder("base").name == "base-restaurants-0"
    with pytest.raises(ConfigError, match="no method 'lora r=3' in this comparison. Did you mean 'lora r="):
        compared.run_folder("lora r=3")
    with pytest.raises(
        ConfigError, match="^full, task restaurants, seed 1: no finished run; finished: restaurants seed"
    ):
        compared.run_folder("full", task="restaurants", seed=1)


def test_examples_stand_before_and_after_side_by_side(compared):
    examples = compared.examples(3, task="headlines")
    assert [told.id for told in examples] == ["headlines-0", "headlines-20", "headlines-40"]
    assert list(examples[0].answers) == ["base", "full", "lora r=4", "lora r=8"]
    assert examples[0].references[0] == "The Eagle is a cheap pub by the river."
    text = repr(examples)
    assert (
        text.startswith("headlines, test example headlines-0\n  prompt: name[The Eagle]") and "\n  base: The E" in text
    )
    assert len(examples.to_pandas()) == 3 * 4
    assert len(compared.examples(1000, task="headlines")) == 60
    assert len(compared.examples(2)) == 4, "two of each task"
    with pytest.raises(ConfigError, match="no task 'headline' in this comparison. Did you mean 'headlines'?"):
        compared.examples(task="headline")


def test_texts_do_not_steer_a_terminal():
    told = Told("task", "id", "a\x1b[2J", ("b\x07",), {"base": "\x1b]0;title\x07", "full": None})
    text = repr(SideBySide([told]))
    assert not {"\x1b", "\x07"} & set(text) and "full: (no text)" in text


def test_figures_are_the_pictures_themselves(compared):
    figures = compared.figures
    assert figures and all(path.suffix == ".png" for path in figures)
    html = figures._repr_html_()
    assert Tags(html).opened == ["img"] * len(figures)
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in re.findall(r'src="([^"]*)"', html))


def test_nothing_finished_is_said(tmp_path):
    study = write_study(tmp_path, written=False)
    empty = StudyComparison.of(build_comparison([study], metrics=METRICS), folder=tmp_path)
    assert "no figures" in repr(empty.figures) and "no figures" in empty.figures._repr_html_()
    assert "no texts" in repr(empty.examples()) and "no texts" in empty.examples()._repr_html_()
    assert len(empty.to_pandas()) == 8 and "restaurants" in repr(empty)
    with pytest.raises(ConfigError, match="full: no finished run; finished: none"):
        empty.run_folder("full")


def test_an_outcome_says_first_that_it_is_a_rehearsal(compared):
    outcome = StudyOutcome.of(Outcome(compared, compared.folder, 0, ("the model: a toy",)))
    assert repr(outcome).startswith(REHEARSED)
    assert Tags(outcome._repr_html_()).text.startswith(REHEARSED)
    assert outcome.comparison.rows == compared.rows and outcome.num_failed == 0
    assert outcome.run_folder("full") == compared.run_folder("full")
    assert outcome.figures == compared.figures and outcome.examples(1) == compared.examples(1)
    assert outcome.to_pandas().equals(compared.to_pandas())


def test_without_pandas_the_way_out_is_said(compared, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ConfigError, match="to_pandas needs pandas, which is not installed: pip install pandas"):
        compared.to_pandas()
