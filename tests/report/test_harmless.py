"""Texts of models and files compute nothing in a spreadsheet, and steer neither a terminal nor a browser."""

import csv
import json
import re
import shutil

import pytest

from report.study_folder import METRICS, write_failure, write_study
from tunelab.report.tables import no_formula, steerless
from tunelab.report.write import write_report

ODD = "\x1b[31mred\x1b[0m \u202eleft\u202c \x07\x00 \u2066x\u2069"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1+cmd", "'+1+cmd"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1+1", "' =1+1"), (" =1", "' =1"), ("-0.5", "-0.5"), ("+3e-4", "+3e-4"), ("lora r=4", "lora r=4"), ("", ""),
    ],
)  # fmt: skip
def test_a_cell_is_text(text, cell):
    assert no_formula(text) == cell


def test_lines_tabs_and_other_scripts_stay():
    plain = "a\n\tb \u05d0\u200f \u0645 \N{ZERO WIDTH JOINER} 日本語"
    assert steerless(plain) == plain
    assert not re.search("[\x00-\x08\x1b\u202a-\u202e\u2066-\u2069]", steerless(ODD))


def test_the_report_has_neither_formulas_nor_escapes(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), seeds=(0, 1), spoil=False)
    entries = []
    for entry in study.runs:
        if entry.method == "full" and entry.seed == 1:
            shutil.rmtree(tmp_path / "runs" / entry.id)
            write_failure(tmp_path / "runs" / entry.id, entry, f"=cmd|' /C calc'!A0 {ODD}")
        elif (tmp_path / "runs" / entry.id / "predictions.jsonl").exists():
            path = tmp_path / "runs" / entry.id / "predictions.jsonl"
            rows = [json.loads(line) | {"prediction": f"=1+1 {ODD}"} for line in path.read_text().splitlines()]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        entries.append(entry._replace(method="=evil") if entry.method == "lora r=4" else entry)
    write_report(
        study._replace(runs=tuple(entries)), metrics=METRICS, folder=tmp_path, config_facts={"model": f"@x {ODD}"}
    )
    for name in ("comparison.csv", "report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert not re.search("[\x00-\x08\x1b\u202a-\u202e\u2066-\u2069]", text), name
        assert not re.search(r"\\u(00(0[0-8]|1b)|202[a-e]|206[6-9])", text), name
    rows = list(csv.DictReader((tmp_path / "comparison.csv").open()))
    assert "'=evil" in {row["method"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "@")]


def test_what_a_finished_run_has_lost_is_said(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), seeds=(0,), spoil=False)
    entry = next(entry for entry in study.runs if entry.method == "full")
    (tmp_path / "runs" / entry.id / "steps.jsonl").unlink()
    (tmp_path / "runs" / entry.id / "predictions.jsonl").unlink()
    shutil.rmtree(tmp_path / "runs" / entry.id / "model")
    write_report(study, metrics=METRICS, folder=tmp_path, config_facts={})
    report = (tmp_path / "report.md").read_text().replace("\\_", "_")
    for name in ("predictions.jsonl", "steps.jsonl", "model"):
        assert f"{entry.id}: {name} is missing" in report
    assert report.count("is missing") == 3
