"""Trackio's database and its page."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from trackers.mirrored import ANEW, FAILED, RUN, said_too_much
from trackers.page import page_text, served

pytestmark = pytest.mark.slow


@pytest.fixture
def rows(results):
    """Of the run: step, time, values."""
    with sqlite3.connect(results / "trackers" / "trackio" / "small.db") as database:
        found = database.execute("select step, timestamp, metrics from metrics where run_id = ? order by id", [RUN])
        return [(step, when, json.loads(values)) for step, when, values in found]


def test_every_step_is_there_once_with_its_value_and_its_time(rows):
    trained = [(step, when, values["train/loss"]) for step, when, values in rows if "train/loss" in values]
    assert [(step, loss) for step, _, loss in trained] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3, 4, 5)]
    assert [when[11:19] for _, when, _ in trained] == ["01:00:10", "01:00:20", "01:00:30", "02:00:10", "02:00:20"]
    assert [step for step, _, values in rows if "eval/perplexity" in values] == [2, 4]


def test_a_run_that_was_trained_anew_is_the_new_one(results):
    with sqlite3.connect(results / "trackers" / "trackio" / "small.db") as database:
        found = database.execute("select step, metrics from metrics where run_id = ? order by id", [ANEW]).fetchall()
    losses = [(step, json.loads(values)["train/loss"]) for step, values in found if "train/loss" in json.loads(values)]
    assert losses == [(1, 9.0), (2, 4.5)]


def test_scores_are_at_the_last_step_the_newest_last(rows):
    assert [(step, values["test/rouge_l"]) for step, _, values in rows if "test/rouge_l" in values] == [
        (5, 0.5), (5, 0.75),
    ]  # fmt: skip


def test_the_run_has_its_own_id_its_configuration_and_its_method_as_group(results):
    with sqlite3.connect(results / "trackers" / "trackio" / "small.db") as database:
        found = dict(database.execute("select run_id, config from configs").fetchall())
    assert set(found) == {RUN, FAILED, ANEW}
    configuration = json.loads(found[RUN])
    assert configuration["method"]["rank"] == 2
    assert configuration["_Group"] == configuration["tags"]["method"] == "lora r=2"
    assert configuration["status"] == "finished" and json.loads(found[FAILED])["status"] == "failed"


def test_its_own_api_reads_the_runs(results):
    code = "import trackio; print(sorted(run.name for run in trackio.Api().runs('small')))"
    environment = {"TRACKIO_DIR": str(results / "trackers" / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([ANEW, FAILED, RUN])


def test_neither_host_nor_user_nor_text_is_in_it(results):
    assert said_too_much(results, "trackio") == []


def test_its_page_shows_the_runs(results, tmp_path):
    """By Trackio's own server, from a copy: it writes into its folder."""
    folder = tmp_path / "trackio"
    shutil.copytree(results / "trackers" / "trackio", folder)
    environment = {"TRACKIO_DIR": str(folder), "GRADIO_SERVER_PORT": "{port}", "BROWSER": "true", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "trackio.cli", "show", "--project", "small"]
    with served(command, environment=environment, stderr=subprocess.STDOUT) as address:
        text = page_text(f"{address}?project=small", tmp_path / "profile", wants=[RUN])
    assert RUN in text and FAILED in text
    assert "eval" in text


def test_the_database_lies_in_the_results_folder(results):
    assert [path.name for path in (results / "trackers" / "trackio").glob("*.db")] == ["small.db"]
