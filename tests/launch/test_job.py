"""A run in a job: what is tried again, and when it is not. SLURM itself is not asked here; see slurm/test_study.py."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import tiny
from launch.test_resume import prepared

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Starts the job of a run, at SLURM's given restart; `asked` is what was asked of scontrol."""
    run, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "lora")
    manifest = tmp_path / "0001.runs"
    manifest.write_text(f"another\n{run.id}\n")
    asked = tmp_path / "asked"
    asked.touch()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    facts = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "13", "TUNELAB_SUBMISSION": "one"}
    for name, value in facts.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")

    def start(restart):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        command = [sys.executable, "-m", "tunelab.launch.job", str(tmp_path / "out"), str(manifest)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return folder, start, lambda: asked.read_text().splitlines()


def ends_what_asks(folder_of_commands):
    """A scontrol that SLURM ends, with all else of the job that it requeues."""
    with (folder_of_commands / "scontrol").open("a") as script:
        script.write("kill -TERM $$\n")


def until_begun(folder, process, number):
    deadline = time.monotonic() + 60
    while len(folder.attempts()) < number:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return folder.held().holder.pid


def test_a_run_whose_process_is_killed_three_times_is_failed_with_its_logs_end(job):
    folder, start, asked = job
    for restart in range(3):
        process = start(restart)
        os.kill(until_begun(folder, process, restart + 1), signal.SIGKILL)
        process.communicate()
        assert process.returncode == (75 if restart < 2 else 1)
        assert folder.failed == (restart == 2)
    assert asked() == ["requeue 12_1"] * 2
    error = json.loads((folder.path / "failure.json").read_text())["error"]
    assert error.startswith("3 attempts in a row ended without a result (job 12_1 on ")
    process = start(3)  # by hand: what is failed stays so until `tunelab run` forgets it
    process.communicate()
    assert process.returncode == 1 and len(folder.attempts()) == 3


def test_a_requeue_that_slurm_itself_has_ended_was_heard(job, tmp_path):
    folder, start, asked = job
    ends_what_asks(tmp_path / "bin")
    process = start(0)
    os.kill(until_begun(folder, process, 1), signal.SIGKILL)
    process.communicate()
    assert process.returncode == 75 and not folder.failed and asked() == ["requeue 12_1"]


def test_what_the_run_itself_names_is_not_tried_again(job):
    folder, start, asked = job
    facts = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**facts, "data_revision": "another"}))
    process = start(0)
    process.communicate()
    assert process.returncode == 1 and asked() == []
    assert "the data changed" in json.loads((folder.path / "failure.json").read_text())["error"]


def test_what_breaks_before_the_run_begins_would_break_for_ever(job):
    folder, start, asked = job
    facts = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**facts, "not_a_field": 1}))
    process = start(0)
    process.communicate()
    assert process.returncode != 0 and asked() == [] and folder.attempts() == []


def test_preemption_stops_it_with_a_checkpoint_and_leaves_the_queue_to_slurm(job):
    folder, start, asked = job
    process = start(0)
    deadline = time.monotonic() + 60
    while len(folder.steps()) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.terminate()
    process.communicate()
    assert process.returncode == 75 and asked() == [] and not folder.failed and folder.attempts()[-1].how == "stopped"
    process = start(1)
    process.communicate()
    assert process.returncode == 0 and folder.finished
    assert folder.attempts()[-1].progress == folder.attempts()[0].reached
    process = start(2)
    assert process.communicate()[0] == f"{folder.path.name} has finished already\n" and process.returncode == 0
