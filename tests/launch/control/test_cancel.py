"""`tunelab cancel` of a study on this machine: what it ends, what it leaves, and what it cannot reach."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from launch.control.test_status import Started, held_elsewhere
from launch.test_resume import STUDY, prepared
from slurm_cluster import wait_for
from tunelab.launch.control import cancel
from tunelab.launch.control.cancel import cancel_study
from tunelab.launch.worker import STOPPED
from tunelab.ownership import holder_of
from tunelab.study.store import RunFolder, Store

FULL = "  - full: {{learning_rate: 1e-3}}\n"
LONG = STUDY.replace(FULL, "").replace("steps: 20", "steps: 40").replace("seconds: 0.1", "seconds: 1000")
"""No checkpoint but that of a stop."""


def checkpoints(folder: RunFolder) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in folder.checkpoint.glob("step-*")]


def steps_of(folder: RunFolder) -> int:
    last = folder.last_step()
    return 0 if last is None else last.step


def test_where_nothing_runs_it_says_so(tmp_path):
    started = Started(tmp_path / "out")
    (started["base 3"].path / "result.json").write_text("{}")
    cancelled = cancel_study(str(tmp_path / "out"))
    assert not cancelled.ended and not cancelled.remaining
    assert cancelled.lines[0].startswith("Nothing to cancel: nothing executes this study. `tunelab run ")


def test_what_runs_elsewhere_is_named_with_its_host_and_no_process_here_is_touched(tmp_path, monkeypatch):
    started = Started(tmp_path / "out")
    held_elsewhere(started["lora 3"])
    monkeypatch.setattr(os, "kill", lambda *arguments: pytest.fail("nobody here is to be ended"))
    (line,) = cancel_study(str(tmp_path / "out")).remaining
    assert "node7, process 4711" in line and "it runs on node7, not here: end it there (kill 4711" in line


@pytest.mark.slow
def test_a_process_that_got_the_number_of_a_dead_holder_is_left_alone(tmp_path):
    started = Started(tmp_path / "out")
    with subprocess.Popen(["sleep", "60"]) as other:
        held_elsewhere(started["lora 3"])
        file = started["lora 3"].path / "owner-000001.json"
        holder = holder_of(started["lora 3"].path).holder
        here = holder._replace(host=os.uname()[1], pid=other.pid, start="1")
        file.write_text(json.dumps(here._asdict()))
        assert cancel_study(str(tmp_path / "out")).ended == ()
        assert other.poll() is None
        other.kill()


@pytest.mark.slow
def test_a_local_study_is_ended_with_a_checkpoint_and_the_next_run_completes_it(tmp_path):
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(LONG.format(model=tiny.model_folder(tmp_path / "model")))
    command = [sys.executable, "-m", "tunelab", "run", str(study), "--out", str(out)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(steps_of(folder) >= 3 for folder in Store(out).all_runs()), seconds=120)
    said: list[str] = []
    cancelled = cancel_study(str(study), out=out, told=said.append)
    assert running.wait(5) == 130 and "Interrupted" in running.communicate()[1]
    assert len(cancelled.ended) == 1 and cancelled.remaining == () and cancelled.num_finished == 1
    assert said == [f"Asked process {running.pid} to end; waiting until what runs has written its checkpoint."]
    assert f"1 finished run stays; `tunelab run {study} --out {out}` goes on with the others." in cancelled.lines
    (begun,) = [folder for folder in Store(out).all_runs() if folder.checkpoint.exists()]
    assert checkpoints(begun) == [steps_of(begun)] and 3 <= steps_of(begun) < 40
    assert begun.attempts()[-1].how == "stopped" and not begun.failed
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert all(folder.finished for folder in Store(out).all_runs())


@pytest.mark.slow
def test_a_worker_that_has_outlived_its_study_is_ended_too(tmp_path):
    _, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "lora", study=LONG)
    settled = Started(tmp_path / "plan").store.study_file.read_text()
    (tmp_path / "out" / "study.yaml").write_text(settled)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tunelab.launch.worker", str(folder.path)], stdout=subprocess.DEVNULL
    )
    wait_for(lambda: steps_of(folder) >= 2, seconds=60)
    cancelled = cancel_study(str(tmp_path / "out"))
    assert worker.wait(5) == STOPPED and checkpoints(folder) == [steps_of(folder)]
    assert cancelled.ended[0].startswith(f"{folder.path.name} (")


STUBBORN = """
import signal, sys, time
from pathlib import Path
from tunelab.ownership import own
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with own(Path(sys.argv[1])):
    time.sleep(60)
"""


@pytest.mark.slow
def test_what_does_not_end_is_said(tmp_path, monkeypatch):
    started = Started(tmp_path / "out")
    monkeypatch.setattr(cancel, "WAIT_SECONDS", 1.0)
    stubborn = subprocess.Popen([sys.executable, "-c", STUBBORN, str(started.store.folder)])
    wait_for(lambda: holder_of(Path(started.store.folder)) is not None)
    (line,) = cancel_study(str(tmp_path / "out")).remaining
    assert f"it has not ended within 1 s; `kill -9 {stubborn.pid}` ends it at once" in line
    stubborn.send_signal(signal.SIGKILL)
    stubborn.wait()
