"""Every option of every row, as it was run; scores of every seed; the matrix of several tasks."""

from __future__ import annotations

import csv
import json
import statistics

import pytest

from report.many_methods import NO_MODEL, OUT_OF_MEMORY, write_many, write_pages
from report.study_folder import METRICS, write_study
from tunelab.report.decision import decision_table, terminal_text
from tunelab.report.frame import build_comparison
from tunelab.report.methods_table import methods_table, settings_table
from tunelab.report.options import option_text
from tunelab.report.scores_table import seeds_table, task_matrix
from tunelab.report.verdict import verdicts


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoilt")
    study = write_many(folder, num_methods=5, num_tasks=2, spoil=True)
    write_pages(folder, study)
    return folder, build_comparison([study], metrics=METRICS)


def texts(table):
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, row, strict=True)) for row in table.rows]


def test_no_option_of_any_row_stands_nowhere(spoilt):
    folder, comparison = spoilt
    group = comparison.groups[0]
    shown = {line["Method"].text: line for line in texts(methods_table(group))}
    assert list(shown) == ["full", "lora", "dora", "galore", "rosa"]
    for run in (run for run in group.runs if run.config is not None and run.entry.method != "base"):
        line = shown[run.entry.method]
        for name, value in run.config.method.items():
            if name in ("name", "label", "learning_rate"):
                continue
            own = line[name].text if name in line else f"{line['Other options'].text}, {line['Other options'].below}"
            assert (option_text(value) if name in line else f"{name}={option_text(value)}") in own, (name, own)
    assert (
        shown["lora"]["rank"].text == "8" and shown["galore"]["rank"].text == "64" and shown["full"]["rank"].text == "–"
    )
    assert shown["dora"]["targets"].text == "[c_attn, c_proj]" and shown["dora"]["Effective optimizer"].text == "AdamW"
    assert shown["rosa"]["Other options"].text == "not known: no run.json of it can be read"
    page = (folder / "report.html").read_text()
    assert "update_gap=200" in page and "update_gap=200" in (folder / "report.md").read_text()


def test_options_and_optimizer_are_in_json_and_csv(spoilt):
    folder, _ = spoilt
    rows = {row["method"]: row for row in json.loads((folder / "comparison.json").read_text())["rows"]}
    assert rows["galore"]["options"]["update_gap"] == 200 and rows["base"]["options"] == {}
    assert rows["galore"]["optimizer"][0]["rule"] == "AdamW"
    with (folder / "comparison.csv").open(newline="") as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    assert "rank=64, update_gap=200" in lines["galore"]["options"]
    assert json.loads(lines["galore"]["optimizer"]) == rows["galore"]["optimizer"]


def test_scores_of_every_seed_and_their_deviation(spoilt):
    folder, comparison = spoilt
    row = next(row for row in comparison.groups[1].rows if row.method == "galore")
    cell = row.scores["rouge_l"]
    recorded = {
        seed: json.loads((folder / f"runs/m3-headlines-{seed}/result.json").read_text())["scores"]["rouge_l"]["value"]
        for seed in (0, 1, 2)
    }
    assert cell.by_seed == recorded and cell.sd == statistics.stdev(recorded.values())
    (line,) = [each for each in texts(seeds_table(comparison.groups[1]))
               if (each["Metric"].text, each["Method"].text) == ("rouge_l", "galore")]  # fmt: skip
    assert line["Seed 1"].text == f"{recorded[1]:.4f}" and line["SD"].text == f"{cell.sd:.4f}"
    with (folder / "comparison.csv").open(newline="") as file:
        mine = [each for each in csv.DictReader(file) if (each["task"], each["method"]) == ("headlines", "galore")]
    (csv_line,) = mine
    assert float(csv_line["score rouge_l seed 2"]) == recorded[2] and float(csv_line["score rouge_l sd"]) == cell.sd
    assert "Scores of every seed" in (folder / "report.html").read_text()


def test_the_matrix_is_bold_as_the_tests_say(spoilt):
    _, comparison = spoilt
    table = task_matrix(comparison)
    assert [column.title for column in table.columns] == ["Method", "restaurants", "headlines"]
    for method, *cells in table.rows:
        for cell, group in zip(cells, comparison.groups, strict=True):
            row = next(row for row in group.rows if row.method == method.text)
            is_good = "rouge_l" in row.scores and row.scores["rouge_l"].word == "as good"
            assert (cell.tone == "best") is is_good
    assert [cell.text for cell in table.rows[-1]] == ["rosa", "–", "–"] and "why stands under" in table.feet[-1]


def test_without_a_test_nothing_is_bold(tmp_path):
    comparison = build_comparison([write_study(tmp_path, seeds=(0,), spoil=False)], metrics=METRICS)
    assert not [cell for row in task_matrix(comparison).rows for cell in row if cell.tone]
    one = write_study(tmp_path / "one", tasks=("restaurants",), spoil=False)
    assert task_matrix(build_comparison([one], metrics=METRICS)) is None


def test_failed_runs_are_named_in_the_verdict_and_told_on_the_row(spoilt):
    _, comparison = spoilt
    verdict = verdicts(comparison)[0]
    said = " ".join(verdict.sentences)
    assert "failed: lora (seed 2) and rosa (seeds 0, 1, 2); not finished: full (seed 2)" in said
    assert "Preliminary" in verdict.summary
    table = decision_table(comparison.groups[0], caption="")
    rows = {line["Method"].text: line["Method"] for line in texts(table)}
    feet = dict(foot.split(": ", 1) for foot in table.feet if foot[1] == ":")
    assert feet[rows["rosa"].marks] == f"seeds 0, 1, 2 failed: {OUT_OF_MEMORY}"
    assert "the loss is not finite at step 12" in feet[rows["lora"].marks]
    assert feet[rows["full"].marks] == "seed 2 not finished"
    assert OUT_OF_MEMORY.split(";")[0] in " ".join(terminal_text(comparison).split())


def test_a_missing_metric_is_named_in_the_verdict_and_told_on_its_cell(spoilt):
    _, comparison = spoilt
    assert "loss has no value for base and lora (see the marks)." in verdicts(comparison)[0].sentences
    table = decision_table(comparison.groups[0], caption="")
    lines = {line["Method"].text: line for line in texts(table)}
    mark = lines["lora"]["loss ↓"].marks
    assert f"{mark}: loss is missing: {NO_MODEL}" in table.feet
    assert mark not in lines["lora"]["Method"].marks and lines["base"]["loss ↓"].marks == mark
    assert lines["galore"]["loss ↓"].marks == ""


def test_a_metric_missing_for_one_seed_says_for_which(tmp_path):
    study = write_study(tmp_path, tasks=("headlines",), spoil=False)
    run = next(entry for entry in study.runs if (entry.method, entry.seed) == ("full", 1))
    path = tmp_path / "runs" / run.id / "result.json"
    result = json.loads(path.read_text())
    del result["scores"]["loss"]
    path.write_text(json.dumps(result))
    full = next(row for row in build_comparison([study], metrics=METRICS).rows if row.method == "full")
    assert full.scores["loss"].left_out == ("loss is missing for seed 1: it was not computed; `tunelab run` does",)
    assert list(full.scores["loss"].by_seed) == [0] and full.scores["loss"].sd is None
    assert full.scores["loss"].left_out[0] in full.marks and full.scores["loss"].left_out[0] in full.notes


def test_settings_that_differ_name_whose_they_are(tmp_path):
    study = write_study(tmp_path, spoil=False)
    for entry in study.runs:
        path = tmp_path / "runs" / entry.id / "run.json"
        facts = json.loads(path.read_text())
        facts["batch"] = {"max_length": 64 if entry.task == "headlines" else 256}
        facts["threads"] = 4 if entry.method == "full" else 2
        path.write_text(json.dumps(facts))
    lines = {line["Setting"].text: line["Value"].text
             for line in texts(settings_table(build_comparison([study], metrics=METRICS)))}  # fmt: skip
    assert lines["batch.max_length"] == "restaurants: 256; headlines: 64"
    assert lines["threads"].endswith("restaurants (full), headlines (full): 4") and lines["precision"] == "fp32"
    assert "seed" not in lines and not [name for name in lines if name.startswith("ranks")]
