"""A column of the table holds scores that were computed in one way."""

import json

import pytest

from report.study_folder import METRICS, write_study
from tunelab.report.frame import build_comparison


def change_signature(folder, run_id, signature):
    path = folder / "runs" / run_id / "result.json"
    result = json.loads(path.read_text())
    result["scores"]["rouge_l"]["signature"] = signature
    path.write_text(json.dumps(result))


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path, tasks=("headlines",), methods=("base", "full", "lora r=8"), spoil=False)


def rows_of(study):
    return {row.method: row for row in build_comparison([study], metrics=METRICS).rows}


def test_a_run_scored_in_another_way_takes_no_part_in_the_column_and_says_so(study):
    before = rows_of(study)
    of_full = [entry for entry in study.runs if entry.method == "full"]
    change_signature(study.folder, of_full[0].id, "rouge_l|v2")
    after = rows_of(study)
    assert after["base"].scores["rouge_l"].mean == before["base"].scores["rouge_l"].mean
    assert not any("v2" in note for note in before["full"].notes)
    (note,) = [note for note in after["full"].notes if "v2" in note]
    assert "rouge_l|v1" in note and "tunelab run" in note
    assert after["full"].scores["rouge_l"].mean != before["full"].scores["rouge_l"].mean
    assert after["full"].scores["loss"].mean == before["full"].scores["loss"].mean


def test_a_method_scored_in_another_way_throughout_has_no_number(study):
    for entry in study.runs:
        if entry.method == "full":
            change_signature(study.folder, entry.id, "rouge_l|v2")
    full = rows_of(study)["full"]
    assert full.scores["rouge_l"].mean is None
    assert full.scores["rouge_l"].word is None
    assert full.scores["loss"].mean is not None
