"""An evaluation that is killed goes on where it stopped, and other decoding asks a finished model again: both without
training."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny
from launch.test_resume import IN_PROCESS, execute_run, prepared
from tunelab.config.read import read_study
from tunelab.launch.executor import worker_environment
from tunelab.launch.run import run_study
from tunelab.launch.view import PlainView
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import RunFolder, Store

pytestmark = pytest.mark.slow

KILL_AT = [2, 9]
"""Texts."""
STUDY = """
name: evaluation
model: {model}
tasks: [{{name: restaurants, train_rows: 20, validation_rows: 4, test_rows: 60, metrics: [rouge_l, loss]}}]
methods: [lora: {{learning_rate: 1e-2}}]
seeds: [3]
budget: {{steps: 3}}
batch: {{examples: 4, max_tokens: {max_tokens}}}
generation: {generation}
threads: 1
precision: fp32
"""


def texts_on_disk(folder: RunFolder) -> list[dict]:
    lines = folder.texts.read_bytes().split(b"\n")[1:-1] if folder.texts.exists() else []
    return [json.loads(line) for line in lines]


def kill_at(run, folder: RunFolder, count: int) -> None:
    """Start the worker and end it with SIGKILL once that many texts are on disk."""
    command = [sys.executable, "-m", "tunelab.launch.worker", str(folder.path)]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=worker_environment(run))
    deadline = time.monotonic() + 120
    try:
        while len(texts_on_disk(folder)) < count:
            assert worker.poll() is None, folder.log.read_text()
            assert time.monotonic() < deadline, "no texts came"
            time.sleep(0.002)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert not folder.finished


@pytest.mark.parametrize(
    ("method", "generation"),
    [("lora", "{max_new_tokens: 40, temperature: 0.9, top_k: 30}"), ("base", "{max_new_tokens: 40}")],
    ids=["lora-drawn", "base-greedy"],
)
def test_killed_while_generating_and_resumed_equals_not_stopped(method, generation, tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    study = STUDY.replace("{generation}", generation.replace("{", "{{").replace("}", "}}")).replace(
        "{max_tokens}", "30"
    )
    run, whole = prepared(tmp_path / "whole", model, method, study=study)
    execute_run(run, whole, events=lambda run, event: None, launch=IN_PROCESS)
    assert whole.finished, whole.log.read_text()
    assert len(whole.read_predictions()) > KILL_AT[-1] + 5

    run, cut = prepared(tmp_path / "cut", model, method, study=study)
    for count in KILL_AT:
        kill_at(run, cut, count)
    before = texts_on_disk(cut)
    with cut.texts.open("ab") as file:
        file.write(b'{"example": 23, "te')  # as a process leaves it that is killed while it writes
    told = []
    execute_run(run, cut, events=lambda run, event: told.append(event))
    assert cut.finished, cut.log.read_text()

    first = next(event for event in told if event["event"] == "generate")
    assert first["done"] >= len(before) >= KILL_AT[-1], "it generated again what was on disk"
    assert not [event for event in told if event["event"] == "step"], "it trained again"
    assert (cut.path / "predictions.jsonl").read_bytes() == (whole.path / "predictions.jsonl").read_bytes()
    assert cut.read_result().scores == whole.read_result().scores
    assert not cut.texts.exists() and not whole.texts.exists()


class Watching(PlainView):
    def __init__(self) -> None:
        from rich.console import Console

        super().__init__(Console(quiet=True))
        self.events: list[tuple[str, dict]] = []

    def event(self, run, event) -> None:
        self.events.append((run.id, event))

    def of(self, kind: str) -> list[str]:
        return [run for run, event in self.events if event["event"] == kind]


def finish(study: str, out: Path, *overrides: str) -> Watching:
    view = Watching()
    outcome = run_study(
        make_plan(read_study(text=study, overrides=overrides)), out=out, cluster="in-process", view=view
    )
    assert outcome.num_failed == 0
    return view


@pytest.fixture
def study(tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    return STUDY.format(model=model, generation="{max_new_tokens: 3, temperature: 1.0}", max_tokens=256)


def contents(out: Path) -> dict[str, dict]:
    return {each.read_run().method["label"]: each for each in Store(out).all_runs()}


def test_other_decoding_generates_again_and_trains_nothing(study, tmp_path):
    out = tmp_path / "out"
    finish(study, out)
    before = {label: folder.read_result() for label, folder in contents(out).items()}
    texts = {label: [one.prediction for one in folder.read_predictions()] for label, folder in contents(out).items()}
    again = finish(study, out, "generation.max_new_tokens=9")
    runs = contents(out)
    assert set(runs) == {"base", "lora"}, "a changed setting made another run"
    assert not again.of("step") and set(again.of("generate")) == {folder.path.name for folder in runs.values()}
    for label, folder in runs.items():
        result = folder.read_result()
        assert folder.read_run().generation.max_new_tokens == 9
        found = [one.prediction for one in folder.read_predictions()]
        assert found != texts[label]
        assert result.scores["loss"].value == pytest.approx(before[label].scores["loss"].value, rel=1e-5)
        assert result.num_steps == before[label].num_steps
        assert result.phases.get("train") == before[label].phases.get("train")
        assert any("evaluated again" in note for note in result.notes)
        assert folder.finished and not folder.texts.exists()
    fresh = finish(study, tmp_path / "fresh", "generation.max_new_tokens=9")
    assert fresh.of("step")
    for label, folder in contents(tmp_path / "fresh").items():
        expected = [one.prediction for one in folder.read_predictions()]
        assert [one.prediction for one in runs[label].read_predictions()] == expected
    assert not finish(study, out, "generation.max_new_tokens=9").events, "nothing has changed"


def test_a_task_that_generates_nothing_is_not_asked_again(study, tmp_path):
    study = study.replace("[rouge_l, loss]", "[loss]")
    finish(study, tmp_path / "out")
    assert not finish(study, tmp_path / "out", "generation.max_new_tokens=4").events


def test_a_changed_learning_rate_still_is_another_run(study, tmp_path):
    finish(study, tmp_path / "out")
    again = finish(study, tmp_path / "out", "methods.0.lora.learning_rate=2e-3")
    assert again.of("step") and len(Store(tmp_path / "out").all_runs()) == 3
