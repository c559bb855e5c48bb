"""Workers: a named failure for every way to end, no orphan, one writer."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import tiny
from launch.test_resume import execute_run, prepared
from tunelab.launch.executor import worker_environment
from tunelab.ownership import process_start

pytestmark = pytest.mark.slow


def execute(run, folder) -> list[dict]:
    events = []
    execute_run(run, folder, events=lambda run, event: events.append(event))
    return events


def test_a_user_error_is_one_line_and_a_defect_keeps_its_traceback(tmp_path):
    run, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "lora")
    facts = json.loads((folder.path / "run.json").read_text())
    facts["data_revision"] = "another"
    (folder.path / "run.json").write_text(json.dumps(facts))
    execute(run, folder)
    failure = json.loads((folder.path / "failure.json").read_text())
    assert "the data changed" in failure["error"] and failure["method"] == "lora"
    assert "Traceback" not in folder.log.read_text()
    facts["method"]["not_a_field"] = 1  # a run.json of another version: ours to explain, so with a traceback
    (folder.path / "run.json").write_text(json.dumps(facts))
    execute(run, folder)
    assert "Traceback" in folder.log.read_text()
    assert "ValidationError" in json.loads((folder.path / "failure.json").read_text())["error"]


def test_a_killed_worker_is_named(tmp_path):
    run, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "lora")

    def kill(run, event):
        if event["event"] == "phase":
            os.kill(folder.held().holder.pid, signal.SIGKILL)

    execute_run(run, folder, events=kill)
    error = json.loads((folder.path / "failure.json").read_text())["error"]
    assert "SIGKILL" in error and "log.txt" in error


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_worker_dies_with_its_parent(tmp_path):
    run, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "full")
    start = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()"
    command = [sys.executable, "-c", start, sys.executable, "-m", "tunelab.launch.worker", str(folder.path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=worker_environment(run))
    worker = int(parent.stdout.readline())
    wait_for(lambda: folder.held() is not None)
    assert os.getpgid(worker) == os.getpgid(parent.pid), "the worker left its parent's process group"
    parent.kill()
    parent.wait()
    wait_for(lambda: process_start(worker) is None)


def wait_for(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_another_process_writes_is_left_alone(tmp_path):
    run, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "lora")
    with folder.lock():
        events = execute(run, folder)
    assert any(event["event"] == "busy" for event in events)
    assert not folder.failed and not folder.finished
