"""A search over lists in any field, end to end: one row a method, its settings tried, recorded and shown."""

import io

import pytest
from rich.console import Console

import tiny
from launch.test_search import Seen
from tunelab.config.read import read_study
from tunelab.launch.run import run_study
from tunelab.launch.view import LiveView
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import Store

pytestmark = pytest.mark.slow
STUDY = """
name: lists
model: {model}
tasks: [{{name: restaurants, train_rows: 16, validation_rows: 4, test_rows: 4, metrics: [loss]}}]
methods:
  - lora: {{learning_rate: [3e-3, 1e-2], rank: [2, 4]}}
  - full: {{learning_rate: [1e-3, 3e-3, 1e-4]}}
seeds: [0, 1]
budget: {{steps: 4}}
batch: {{examples: 4, max_tokens: 256}}
search: {{candidates: 3}}
threads: 1
"""


def test_one_row_a_method_whatever_is_searched(tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    plan = make_plan(read_study(text=STUDY.format(model=model)))
    outcome = run_study(plan, out=tmp_path / "out", cluster="in-process", view=Seen())
    assert outcome.num_failed == 0
    rows = {row.method: row for row in outcome.comparison.rows}
    assert set(rows) == {"base", "lora", "full"}
    assert rows["lora"].num_learning_rates_tried == rows["full"].num_learning_rates_tried == 3
    assert not any("unequal" in mark for row in rows.values() for mark in row.marks)
    runs = [run.read_run().method for run in Store(tmp_path / "out").all_runs()]
    tried = {(run["learning_rate"], run["rank"]) for run in runs if run["name"] == "lora"}
    assert tried == {(3e-3, 2), (1e-2, 4), (3e-3, 4)}, "the winner's second seed is one of them"
    all_runs = [run.read_run() for run in Store(tmp_path / "out").all_runs()]
    won = next(run.method for run in all_runs if run.seed == 1 and run.method["name"] == "lora")
    assert (rows["lora"].learning_rate, rows["lora"].searched) == (won["learning_rate"], {"rank": str(won["rank"])})
    assert rows["full"].searched == {}
    page = (tmp_path / "out" / "report.md").read_text()
    assert f" rank={won['rank']} | " in page, "which rank it is stands on the row"
    assert "| Method | Learning rate | rank |" in page
    assert "Combinations that search.candidates left no place for: lora 1." in page

    shown = io.StringIO()
    view = LiveView(Console(file=shown, width=200))
    again = run_study(plan, out=tmp_path / "out", cluster="in-process", view=view)
    assert again.num_failed == 0
    one = next(run for run in all_runs if (run.method.get("learning_rate"), run.method.get("rank")) == (1e-2, 4))
    view.event(one, {"event": "phase", "phase": "load"})  # finished runs are folded
    Console(file=shown, width=200).print(view._render())
    assert "lora, seed 0, rate 0.01, rank 4" in shown.getvalue()
