"""Forecasts of finished runs: written once, renewed where they are others, and never a study's failure."""

from __future__ import annotations

import pytest

from report.study_folder import write_study
from tunelab.computation.effort import Effort, Product, Shape
from tunelab.entries import FILE, Efforts, Forecast
from tunelab.study.foresight import finished
from tunelab.study.foresight.duration import Duration
from tunelab.study.foresight.finished import write_forecasts
from tunelab.study.planning.plan import parts as parts_of
from tunelab.study.store import Store

FORECAST = Forecast(device="cpu", load={}, train={"weights, frozen, float32": 7}, evaluate={}, save={})


@pytest.fixture
def store(tmp_path, monkeypatch):
    write_study(tmp_path, tasks=("restaurants",), seeds=(0, 1), spoil=False)
    monkeypatch.setattr(finished, "foreseen", lambda *asked, **on: FORECAST)
    store = Store(tmp_path)
    for folder in store.all_runs():
        if (result := folder.read_result()) is not None and result.method != "base":
            folder.write_result(result.model_copy(update={"largest_batch": ((9, 3, 0),)}))
    return store


def runs_of(store):
    return [folder.read_run() for folder in store.all_runs()]


def forecasts(store):
    return sorted(path.parent.name for path in store.folder.glob(f"runs/*/{FILE}"))


def test_the_first_run_of_each_method_has_one(store):
    labels = {run.method["label"] for run in runs_of(store)} - {"base"}
    assert write_forecasts(runs_of(store), store, told=pytest.fail) == len(labels) == len(forecasts(store))
    assert write_forecasts(runs_of(store), store, told=pytest.fail) == 0


def test_one_that_is_damaged_or_old_is_written_anew(store):
    write_forecasts(runs_of(store), store, told=pytest.fail)
    (store.folder / "runs" / forecasts(store)[0] / FILE).write_text("{")
    assert write_forecasts(runs_of(store), store, told=pytest.fail) == 1


def test_what_goes_wrong_is_told(store, monkeypatch):
    def broken(*asked, **on):
        raise AssertionError("no such shape")

    monkeypatch.setattr(finished, "foreseen", broken)
    lines: list[str] = []
    assert write_forecasts(runs_of(store), store, told=lines.append) == 0 and not forecasts(store)
    assert lines and all(line.endswith("its memory was not predicted: AssertionError: no such shape") for line in lines)


def test_seconds_stand_there_where_the_machine_was_measured(store, monkeypatch):
    effort = Effort(((Product("fp32", Shape(12, 1, 1)), 1),))
    parts = Efforts(
        rows=((9, 3, 0),), padded=False, micro_batch=effort, update=Effort(), first=effort, losses=effort
    )  # fmt: skip
    told = FORECAST.model_copy(update={"efforts": (parts,)})
    monkeypatch.setattr(finished, "foreseen", lambda *asked, **on: told)
    monkeypatch.setattr(finished, "known", lambda *, threads: None)
    write_forecasts(runs_of(store), store, told=pytest.fail)
    first = store.folder / "runs" / forecasts(store)[0] / FILE
    assert Forecast.model_validate_json(first.read_text()).seconds == {}
    took = Duration(steps=2, step=1.0, train=2.5, validation=0.5, evaluation=0.25)
    monkeypatch.setattr(finished, "known", lambda *, threads: object())
    monkeypatch.setattr(finished, "duration", lambda *asked, **reads: took)
    write_forecasts(runs_of(store), store, told=pytest.fail)
    assert Forecast.model_validate_json(first.read_text()).seconds == {}, "the data is not what it was"
    same = [run.model_copy(update={"data_revision": parts_of(run).task.fingerprint()}) for run in runs_of(store)]
    assert write_forecasts(same, store, told=pytest.fail)
    found = Forecast.model_validate_json(first.read_text())
    assert found.seconds == {"train": 2.5, "evaluate": 0.25} and found.efforts == ()
