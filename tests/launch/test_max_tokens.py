"""batch.max_tokens: auto: the machine's number, written down, and no part of a run's identity."""

import pytest
import yaml

from tunelab.backends.torch.backend import TorchHf
from tunelab.config.read import read_study
from tunelab.launch.run import settle
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.runs import study_runs
from tunelab.study.store import Store

STUDY = "model: {name: tunelab/tiny}\ntasks: [{name: restaurants}]\nmethods: [{full: {}}]\nbudget: {steps: 1}\n"


@pytest.fixture
def settled(tmp_path, monkeypatch):
    monkeypatch.setattr(TorchHf, "max_tokens", lambda self: 640)

    def make(batch: str = ""):
        file, store = tmp_path / "study.yaml", Store(tmp_path / "out")
        file.write_text(STUDY + batch)
        plan, revisions = settle(make_plan(read_study(file)), store)
        runs = study_runs(plan, revisions, store, settled=lambda run_id: False)
        return plan.study, [each.run for each in runs], store

    return make


def test_auto_is_the_machines_number_in_the_study_and_its_runs(settled):
    study, runs, _ = settled()
    assert study.batch.max_tokens == 640 and {run.batch.max_tokens for run in runs} == {640}


def test_a_run_is_the_same_run_whatever_its_micro_batches_hold(settled):
    ids = [
        [run.id for run in settled(batch)[1]]
        for batch in ("", "batch: {max_tokens: 4096}\n", "batch: {max_tokens: 99}\n")
    ]
    assert ids[0] == ids[1] == ids[2]


def test_a_study_that_has_begun_keeps_its_number(settled):
    _, _, store = settled()
    store.study_file.parent.mkdir()
    store.study_file.write_text(yaml.safe_dump({"batch": {"max_tokens": 320}}))
    assert settled()[0].batch.max_tokens == 320
    assert settled("batch: {max_tokens: 99}\n")[0].batch.max_tokens == 99, "what is asked for by name"
