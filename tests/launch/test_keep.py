"""`validation.keep: best` in a study: what is recorded and said, what a search compares, and what is merged."""

import json

import pytest

import tiny
from launch.test_search import Seen
from study.planning.test_plan import plan, run_of
from tunelab.config.read import read_study
from tunelab.launch.run import run_study
from tunelab.study.planning.plan import identity, make_plan
from tunelab.study.store import Store

pytestmark = pytest.mark.slow
STUDY = """
name: keep
model: {model}
tasks: [{{name: restaurants, train_rows: 16, validation_rows: 4, test_rows: 4, metrics: [loss]}}]
methods: [full: {{learning_rate: [3e-2, 3e-3]}}, lora: {{learning_rate: 3e-2}}, merge: {{of: [full, lora]}}]
seeds: [0]
budget: {{steps: 12}}
batch: {{examples: 4, max_tokens: 256}}
validation: {{every: 0.5, keep: {keep}}}
threads: 1
"""


def test_the_lowest_validation_loss_is_what_is_kept_recorded_compared_and_said(tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    planned = make_plan(read_study(text=STUDY.format(model=model, keep="best")))
    assert run_study(planned, out=tmp_path / "out", cluster="in-process", view=Seen()).num_failed == 0
    trained = [folder for folder in Store(tmp_path / "out").all_runs() if (folder.path / "validation.jsonl").exists()]
    assert len(trained) == 3
    early = 0
    for folder in trained:
        passes = [json.loads(line) for line in (folder.path / "validation.jsonl").read_text().splitlines()]
        best, result = min(passes, key=lambda each: each["loss"]), folder.read_result()
        assert (result.kept_step, result.validation_loss) == (best["step"], best["loss"])
        assert f"the weights after step {best['step']} of 12" in " ".join(result.notes)
        assert not folder.checkpoint.exists()
        early += best["step"] < 12
    assert early, "the rates are high enough that some pass before the last is the best"
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| weights that are the result | of the lowest validation loss | yes |" in page
    merged = next(
        folder for folder in Store(tmp_path / "out").all_runs() if folder.read_run().method["name"] == "merge"
    )
    assert merged.read_result().kept_step is None and merged.read_result().validation_loss > 0


def test_last_is_no_part_of_a_runs_identity_and_best_is():
    runs = {}
    for keep in ("last", "best"):
        runs[keep] = run_of(plan("[lora]", rest=f"validation: {{keep: {keep}}}"))
    assert identity(runs["last"]) == identity(run_of(plan("[lora]"))) != identity(runs["best"])
