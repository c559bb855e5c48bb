"""What a report leaves in the folder: shape of comparison.json and .csv, figures, half-made studies."""

from __future__ import annotations

import csv
import json
import statistics

import pytest

import tunelab
from report import study_folder
from report.study_folder import HOSTILE, METRICS, write_study
from tunelab.report.decision import terminal_text
from tunelab.report.frame import Comparison, build_comparison
from tunelab.report.write import write_report

CELL_KEYS = {
    "mean", "low", "high", "word", "lacks", "lacks_low", "lacks_high", "better", "needed_seeds", "needed_examples",
    "needed_times", "beats_base", "by_seed", "sd", "left_out",
}  # fmt: skip
ROW_KEYS = {
    "study", "method", "task", "backend", "num_seeds", "num_seeds_planned", "scores", "num_devices",
    "num_nodes", "sharded", "train_seconds", "train_device_seconds", "evaluate_seconds", "peak_train_gib",
    "peak_train_all_gib", "loaded_gib", "tokens_per_second", "tokens_per_second_per_device", "trainable_parameters",
    "total_parameters", "saved_mib", "learning_rate", "options", "optimizer", "searched", "num_learning_rates_tried",
    "search_seconds", "search_device_seconds", "runs", "failures", "marks", "notes",
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = write_study(folder)
    comparison = write_report(
        study, metrics=METRICS, folder=folder, config_facts={"model": "tunelab/tiny", "label": HOSTILE}
    )
    return folder, study, comparison


def rows_of(folder):
    return {(row["task"], row["method"]): row for row in json.loads((folder / "comparison.json").read_text())["rows"]}


def test_comparison_json_has_the_documented_shape(written):
    folder, _, _ = written
    whole = json.loads((folder / "comparison.json").read_text())
    assert set(whole) == {"study", "tunelab", "decisions", "rows"} and whole["study"] == "small"
    assert whole["tunelab"] == tunelab.__version__
    assert [(row["task"], row["method"]) for row in whole["rows"]] == [
        (task, method) for task in ("restaurants", "headlines") for method in ("base", "full", "lora r=4", "lora r=8")
    ]
    for row in whole["rows"]:
        assert set(row) == ROW_KEYS
        assert list(row["scores"]) == ["rouge_l", "loss"]
        for cell in row["scores"].values():
            assert set(cell) == CELL_KEYS
            assert cell["low"] < cell["mean"] < cell["high"]


def test_comparison_json_says_what_was_decided_and_how(written):
    folder, _, _ = written
    decisions = json.loads((folder / "comparison.json").read_text())["decisions"]
    assert [(one["task"], one["metric"], one["cost"]) for one in decisions] == [
        ("restaurants", "rouge_l", "memory"), ("headlines", "rouge_l", "memory"),
    ]  # fmt: skip
    headlines, rows = decisions[1], rows_of(folder)
    assert headlines["margin_is"] == "10 % of the gain" and headlines["keep"] == "lora r=8"
    gain = rows["headlines", headlines["best"]]["scores"]["rouge_l"]["mean"]
    assert headlines["margin"] == pytest.approx(
        0.1 * (gain - rows["headlines", "base"]["scores"]["rouge_l"]["mean"]), rel=1e-3
    )
    assert {method: rows["headlines", method]["scores"]["rouge_l"]["word"] for method in study_folder.SKILL} == {
        "base": None, "full": "as good", "lora r=4": "worse", "lora r=8": "as good",
    }  # fmt: skip


def test_means_over_seeds_are_those_of_the_records(written):
    folder, study, _ = written
    for (task, method), row in rows_of(folder).items():
        runs = [
            entry for entry in study.runs if (entry.task, entry.method) == (task, method) and entry.role != "candidate"
        ]
        paths = [folder / "runs" / entry.id / "result.json" for entry in runs]
        results = [json.loads(path.read_text()) for path in paths if path.exists()]
        assert row["num_seeds"] == len(results)
        for name, cell in row["scores"].items():
            assert cell["mean"] == pytest.approx(statistics.mean(result["scores"][name]["value"] for result in results))
        if method == "base":
            assert row["train_seconds"] is None and row["peak_train_gib"] is None and row["saved_mib"] is None
            continue
        assert row["train_seconds"] == pytest.approx(statistics.mean(r["phases"]["train"]["seconds"] for r in results))
        assert row["peak_train_gib"] == max(result["phases"]["train"]["peak_gib"] for result in results)
        assert row["evaluate_seconds"] == pytest.approx(9.0)


def test_losing_learning_rates_are_in_the_cost_and_in_no_mean(written):
    folder, _, _ = written
    row = rows_of(folder)["headlines", "lora r=8"]
    assert row["num_learning_rates_tried"] == 3 and row["learning_rate"] == 3e-4
    assert row["search_seconds"] == pytest.approx(2 * (1.2 + 0.4 + 44.0 + 9.0))
    assert rows_of(folder)["headlines", "full"]["search_seconds"] is None
    assert row["train_seconds"] == pytest.approx(44.5)


def test_rows_are_marked(written):
    folder, _, _ = written
    row = rows_of(folder)["headlines", "full"]
    assert row["marks"] == ["unequal number of learning rates tried: 1 to 3 in this table"]
    failed, one_seed, *_ = rows_of(folder)["restaurants", "full"]["marks"]
    assert failed.startswith("seed 1 failed: the loss is not finite at step 12")
    assert "one seed beside rows with several" in one_seed
    assert rows_of(folder)["restaurants", "lora r=4"]["marks"][0] == "seed 1 not finished"


def test_a_failed_run_is_told_with_its_error_and_left_out_of_the_mean(written):
    folder, _, comparison = written
    row = rows_of(folder)["restaurants", "full"]
    assert (row["num_seeds"], row["num_seeds_planned"]) == (1, 2)
    assert [failure["seed"] for failure in row["failures"]] == [1]
    assert "not finite at step 12" in row["failures"][0]["error"]
    assert [entry.method for entry in comparison.pending] == ["lora r=4"]


def test_csv_is_flat_and_agrees_with_json(written):
    folder, _, _ = written
    with (folder / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = rows_of(folder)
    assert len(lines) == len(found)
    for line in lines:
        row = found[line["task"], line["method"]]
        assert float(line["score rouge_l mean"]) == row["scores"]["rouge_l"]["mean"]
        assert line["score rouge_l better"] == "; ".join(row["scores"]["rouge_l"]["better"]) and line["searched"] == ""
        assert line["train_seconds"] == ("" if row["train_seconds"] is None else str(row["train_seconds"]))


def test_figures_are_written_and_named_after_the_task(written):
    folder, _, _ = written
    names = {path.name for path in (folder / "plots").iterdir()}
    assert names == {
        f"{task}_{kind}.png"
        for task in ("restaurants", "headlines")
        for kind in ("training", "validation", "quality_memory", "quality_time", "search")
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "plots").iterdir())
    assert not [path for path in folder.rglob(".*") if path.is_file()]


@pytest.mark.slow
def test_the_same_records_give_the_same_report(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), seeds=(0,), methods=("base", "full"), spoil=False)
    for out in ("once", "again"):
        write_report(study, metrics=METRICS, folder=tmp_path / out, config_facts={})
    for name in ("report.html", "report.md", "comparison.json", "comparison.csv", "comparison.tex"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_study_without_any_finished_run_has_a_report_with_nulls(tmp_path):
    study = write_study(tmp_path, written=False)
    comparison = write_report(study, metrics=METRICS, folder=tmp_path, config_facts={})
    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    assert len(rows) == 8 and all(row["num_seeds"] == 0 and row["scores"] == {} for row in rows)
    assert all(row[key] is None for row in rows for key in ("train_seconds", "peak_train_gib", "total_parameters"))
    assert "Nothing can be said yet" in (tmp_path / "report.html").read_text()
    assert "Nothing can be said yet" in terminal_text(comparison)


def test_an_empty_study_has_a_report(tmp_path):
    study = study_folder.StudyRuns("empty", tmp_path, ())
    assert write_report(study, metrics={}, folder=tmp_path, config_facts={}).rows == ()
    assert "no runs" in (tmp_path / "report.md").read_text()


def test_one_seed_is_said_in_the_verdict(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), seeds=(3,), spoil=False)
    text = " ".join(terminal_text(build_comparison([study], metrics=METRICS)).split())
    assert "Not tested across seeds" in text and "Add seeds" in text and "Keep" not in text
    assert "as good" not in text.split("*: as good")[0]


def test_without_the_metric_object_the_mean_stays_and_nothing_is_tested(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), methods=("base", "full"), spoil=False)
    base, full = write_report(study, metrics={}, folder=tmp_path, config_facts={}).rows
    cell = full.scores["rouge_l"]
    assert cell.mean is not None
    assert cell.low is cell.high is cell.word is cell.beats_base is None
    assert base.scores["rouge_l"].low is not None, "a single run has its own interval"
    assert "the difference was not tested" in (tmp_path / "report.md").read_text()


def test_a_metric_without_statistics_in_one_method_is_tested_among_the_others(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), spoil=False)
    folder = next(tmp_path / "runs" / entry.id for entry in study.runs if entry.method == "lora r=4")
    lines = [json.loads(line) | {"statistics": {}} for line in (folder / "predictions.jsonl").read_text().splitlines()]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = {row.method: row.scores["rouge_l"] for row in build_comparison([study], metrics=METRICS).rows}
    assert rows["lora r=4"].mean is not None and rows["lora r=4"].word is None
    assert rows["full"].word == "as good" and rows["full"].beats_base is True


@pytest.mark.slow
def test_several_studies_keep_their_rows_apart(tmp_path):
    studies = [
        write_study(tmp_path / name, name=name, tasks=("restaurants",), seeds=(0,), num_examples=10, spoil=False)
        for name in ("first", "second")
    ]
    same = [study._replace(name="same") for study in studies]
    groups = build_comparison(same, metrics=METRICS).groups
    assert [group.study for group in groups] == [f"same ({tmp_path / name})" for name in ("first", "second")]
    comparison = write_report(studies, metrics=METRICS, folder=tmp_path / "both", config_facts={})
    assert isinstance(comparison, Comparison) and comparison.study == "first + second"
    assert [row.study for row in comparison.rows] == ["first"] * 4 + ["second"] * 4
    assert all(set(found.standings) == set(study_folder.SKILL) for group in comparison.groups
               for found in group.comparisons.values())  # fmt: skip
    assert len(list((tmp_path / "both" / "plots").iterdir())) == 10


def test_half_written_and_broken_records_are_told_not_guessed(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), seeds=(0,), spoil=False)
    full, lora = (next(entry.id for entry in study.runs if entry.method == method) for method in ("full", "lora r=4"))
    with (tmp_path / "runs" / full / "steps.jsonl").open("a") as file:
        file.write('{"step": 61, "lo')
    (tmp_path / "runs" / lora / "result.json").write_text('{"run": 1}')
    rows = {row.method: row for row in build_comparison([study], metrics=METRICS).rows}
    assert rows["lora r=4"].num_seeds == 0
    assert "result.json cannot be read" in rows["lora r=4"].failures[0].error
    assert any("steps.jsonl: line 61 cannot be read" in note for note in rows["full"].notes)
