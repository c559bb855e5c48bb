"""MLflow's database, read by its own client."""

import os
import sqlite3

import pytest

from trackers.mirrored import ANEW, FAILED, RUN, said_too_much

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(results):
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{results / 'trackers' / 'mlflow' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client):
    """By the run's own id, of the study's experiment."""
    experiment = client.get_experiment_by_name("small")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_every_step_is_there_once_with_its_value_and_its_time(client, runs):
    history = client.get_metric_history(runs[RUN].info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [
        (step, pytest.approx(1 / step)) for step in (1, 2, 3, 4, 5)
    ]
    whens = [each.timestamp - history[0].timestamp for each in history]
    assert whens == [0, 10_000, 20_000, 3_600_000, 3_610_000]
    assert [each.step for each in client.get_metric_history(runs[RUN].info.run_id, "eval/perplexity")] == [2, 4]


def test_a_run_that_was_trained_anew_is_the_new_one(client, runs):
    history = client.get_metric_history(runs[ANEW].info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(1, 9.0), (2, 4.5)]
    assert runs[ANEW].info.status == "KILLED"


def test_the_newest_score_counts(runs):
    assert runs[RUN].data.metrics["test/rouge_l"] == 0.75
    assert runs[RUN].data.metrics["usage/train_peak_gib"] == 1.5


def test_there_is_one_run_a_run_with_its_configuration_and_tags(runs):
    assert set(runs) == {RUN, FAILED, ANEW}
    assert runs[RUN].data.params["method.rank"] == "2"
    assert runs[RUN].data.params["task_options.train"] == "train.jsonl"
    tags = runs[RUN].data.tags
    assert (tags["tunelab.run"], tags["tunelab.method"], tags["tunelab.seed"]) == (RUN, "lora r=2", "0")
    assert (runs[RUN].info.status, runs[FAILED].info.status) == ("FINISHED", "FAILED")
    assert tags["tunelab.status"] == "finished"


def test_mlflow_records_nothing_of_its_own(results, runs):
    for run in runs.values():
        assert {name for name in run.data.tags if name.startswith("mlflow.")} == {"mlflow.runName"}
        assert run.info.user_id == "unknown"
    with sqlite3.connect(results / "trackers" / "mlflow" / "mlflow.db") as database:
        sources = database.execute("select source_type, source_name, entry_point_name, source_version from runs")
        assert set(sources.fetchall()) == {("UNKNOWN", "", "", "")}
    assert not (results / "trackers" / "mlflow" / "artifacts").exists()


def test_neither_host_nor_user_nor_text_is_in_it(results):
    assert said_too_much(results, "mlflow") == []
