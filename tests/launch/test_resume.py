"""A run killed with SIGKILL at three points and resumed ends with the bytes of one that was not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny
from tunelab.config.launch import Launch
from tunelab.config.read import read_study
from tunelab.launch.executor import Executor, worker_environment
from tunelab.launch.run import settle
from tunelab.launch.worker import STOPPED
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.runs import study_runs
from tunelab.study.store import RunFolder, Store

pytestmark = pytest.mark.slow

KILL_AFTER = [2, 9, 16]
APART = Launch()
IN_PROCESS = Launch(cluster="in-process")
"""For the run that is not stopped: it starts at once."""
STUDY = """
name: resume
model: {model}
tasks: [{{name: restaurants, train_rows: 60, validation_rows: 6, test_rows: 6, metrics: [rouge_l, loss]}}]
methods:
  - full: {{learning_rate: 1e-3}}
  - lora: {{learning_rate: 1e-3, dropout: 0.1}}
seeds: [3]
budget: {{steps: 20}}
batch: {{examples: 4, max_tokens: 256}}
generation: {{max_new_tokens: 4}}
checkpoint: {{seconds: 0.1}}
threads: 1
"""


def prepared(out: Path, model: Path, method: str, *, study: str = STUDY) -> tuple:
    store = Store(out)
    plan, revisions = settle(make_plan(read_study(text=study.format(model=model))), store)
    runs = study_runs(plan, revisions, store, settled=lambda run_id: False)
    run = next(each.run for each in runs if each.entry.method == method)
    folder = store.run(run.id)
    folder.write_run(run, {})
    return run, folder


def execute_run(run, folder: RunFolder, *, events, launch: Launch = APART) -> None:
    with Executor(launch, events=events) as executor:
        executor.start(run, folder)
        assert executor.wait() == {run.id}


def kill_after(run, folder: RunFolder, steps: int) -> None:
    """Start the worker and end it with SIGKILL once that many steps are recorded."""
    command = [sys.executable, "-m", "tunelab.launch.worker", str(folder.path)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=worker_environment(run))
    deadline = time.monotonic() + 120
    try:
        while len(folder.steps()) < steps:
            assert worker.poll() is None, folder.log.read_text()
            assert time.monotonic() < deadline, "no steps came"
            time.sleep(0.005)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert not folder.finished


def records(folder: RunFolder, name: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder.path / name).read_text().splitlines()]
    return [{key: v for key, v in line.items() if key not in ("seconds", "tokens_per_second")} for line in lines]


@pytest.mark.parametrize(("number", "method"), [(signal.SIGTERM, "lora"), (signal.SIGUSR1, "full")])
def test_a_run_that_is_asked_to_stop_writes_its_last_step_down_and_goes_on_from_there(number, method, tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    study = STUDY.replace("seconds: 0.1", "seconds: 3600").replace("steps: 20", "steps: 60")
    run, whole = prepared(tmp_path / "whole", model, method, study=study)
    execute_run(run, whole, events=lambda run, event: None, launch=IN_PROCESS)

    run, cut = prepared(tmp_path / "cut", model, method, study=study)
    command = [sys.executable, "-m", "tunelab.launch.worker", str(cut.path)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=worker_environment(run))
    deadline = time.monotonic() + 120
    while len(cut.steps()) < 5:
        assert worker.poll() is None and time.monotonic() < deadline, cut.log.read_text()
        time.sleep(0.005)
    worker.send_signal(number)
    told = [json.loads(line) for line in worker.stdout]
    assert worker.wait() == STOPPED and told[-1]["event"] == "stopped"
    assert not cut.finished and not cut.failed and cut.held() is None
    reached = cut.steps()[-1].step
    assert 5 <= reached < 60 and f"after step {reached} of 60" in told[-1]["error"]
    (attempt,) = cut.attempts()
    assert (attempt.how, attempt.progress, attempt.reached) == ("stopped", (0, 0), (reached, 0))

    resumed = []
    execute_run(run, cut, events=lambda run, event: resumed.append(event))
    assert [event["step"] for event in resumed if event["event"] == "resumed"] == [reached], "not from its last step"
    assert [each.how for each in cut.attempts()] == ["stopped", "finished"]
    assert records(cut, "steps.jsonl") == records(whole, "steps.jsonl")
    files = list(whole.model.rglob("*.safetensors"))
    assert files
    for file in files:
        assert (cut.model / file.relative_to(whole.model)).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("method", ["full", "lora"])
def test_killed_three_times_and_resumed_equals_not_stopped(method, tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    run, whole = prepared(tmp_path / "whole", model, method)
    execute_run(run, whole, events=lambda run, event: None, launch=IN_PROCESS)
    assert whole.finished, whole.log.read_text()

    run, cut = prepared(tmp_path / "cut", model, method)
    for steps in KILL_AFTER:
        kill_after(run, cut, steps)
    resumed = []
    execute_run(run, cut, events=lambda run, event: resumed.append(event))
    assert cut.finished, cut.log.read_text()
    assert any(event["event"] == "resumed" and event["step"] >= 1 for event in resumed), "it began anew"

    assert records(cut, "steps.jsonl") == records(whole, "steps.jsonl")
    assert records(cut, "validation.jsonl") == records(whole, "validation.jsonl")
    assert (cut.path / "predictions.jsonl").read_bytes() == (whole.path / "predictions.jsonl").read_bytes()
    weights = [file.relative_to(whole.model) for file in whole.model.rglob("*.safetensors")]
    assert weights
    for file in weights:
        assert (cut.model / file).read_bytes() == (whole.model / file).read_bytes(), file
    assert not cut.checkpoint.exists() and not whole.checkpoint.exists()
    one, other = cut.read_result(), whole.read_result()
    assert one.scores == other.scores
    assert one.num_tokens == other.num_tokens
    assert one.phases["train"].seconds > 0


@pytest.mark.parametrize("damage", ["a bit of updater.safetensors", "loop.json", "cut off"])
def test_a_damaged_checkpoint_is_noticed_and_the_run_begins_anew(damage, tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    run, whole = prepared(tmp_path / "whole", model, "lora")
    execute_run(run, whole, events=lambda run, event: None, launch=IN_PROCESS)

    run, cut = prepared(tmp_path / "cut", model, "lora")
    kill_after(run, cut, 12)
    (checkpoint,) = cut.checkpoint.glob("step-*")
    file = checkpoint / ("loop.json" if damage == "loop.json" else "updater.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "a bit of updater.safetensors":
        data[-5] ^= 1
    file.write_bytes(data[:-7] if damage != "a bit of updater.safetensors" else data)
    execute_run(run, cut, events=lambda run, event: None, launch=IN_PROCESS)
    assert cut.finished, cut.log.read_text()
    notes = [note for note in cut.read_result().notes if "damaged" in note]
    assert len(notes) == 1 and notes[0].startswith(f"its checkpoint of step {int(checkpoint.name[-9:])} was damaged (")
    assert file.name in notes[0] and notes[0].endswith("so the run began anew")
    assert records(cut, "steps.jsonl") == records(whole, "steps.jsonl")
    assert (cut.path / "predictions.jsonl").read_bytes() == (whole.path / "predictions.jsonl").read_bytes()
