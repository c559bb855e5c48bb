"""What tuning costs on general text is told beside the study's base."""

import math

import pytest

import tiny
from tunelab.config.read import read_study
from tunelab.launch.run import run_study
from tunelab.report.frame import BASE
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import Store

STUDY = """
name: forgets
model: {model}
tasks: [{{name: restaurants, train_rows: 16, validation_rows: 4, test_rows: 3, metrics: [loss, forgetting]}}]
methods: [full: {{learning_rate: 0.01}}]
seeds: [0]
budget: {{steps: 4}}
batch: {{examples: 4, max_length: 64}}
launch: {{cluster: in-process}}
"""


class Silent:
    def told(self, text: str) -> None: ...

    def planned(self, runs, store): ...

    def event(self, run, event): ...


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forgetting")
    study = STUDY.format(model=tiny.model_folder(folder / "model"))
    return run_study(make_plan(read_study(text=study)), out=folder / "out", cluster=None, view=Silent())


@pytest.mark.slow
def test_forgetting_is_the_rise_over_the_base_in_bits_per_byte(outcome):
    runs = {run.read_run().method["label"]: run for run in Store(outcome.folder).all_runs()}
    base, full = (runs[label].read_general() for label in (BASE, "full"))
    assert [row.id for row in base] == [row.id for row in full] and len(base) == 200
    rise = sum(row.loss_sum for row in full) - sum(row.loss_sum for row in base)
    wanted = rise / sum(row.num_bytes for row in base) / math.log(2)
    assert wanted != 0
    assert runs["full"].read_result().scores["forgetting"].value == pytest.approx(wanted, rel=1e-9)
    assert runs[BASE].read_result().scores["forgetting"].value == 0


@pytest.mark.slow
def test_the_report_has_it_with_an_interval_and_a_tie(outcome):
    rows = {row.method: row.scores for row in outcome.comparison.rows}
    cell = rows["full"]["forgetting"]
    assert cell.low < cell.mean < cell.high
    assert cell.beats_base is None, "the base has not forgotten anything, so nothing can beat it"
    assert cell.word is None, "one seed"
    assert rows[BASE]["forgetting"].mean == 0
    assert rows["full"]["loss"].mean is not None
