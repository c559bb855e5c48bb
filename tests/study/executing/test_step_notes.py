"""What happened in a run's steps stands in its records, its result and the report: nothing of it is silent."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tunelab
from tunelab.backends.torch.session import TorchSession
from tunelab.study.store import RunFolder, Store
from tunelab.training.narrow import loss_scale

pytestmark = pytest.mark.slow

ROWS = {"train_rows": 24, "validation_rows": 4, "test_rows": 6}
STUDY: dict[str, Any] = {
    "name": "notes",
    "model": "tunelab/tiny",
    "tasks": [{"name": "restaurants", "metrics": ["loss"], **ROWS}],
    "seeds": [0],
    "budget": {"steps": 4},
    "batch": {"examples": 8, "max_tokens": 2048},
    "threads": 1,
}


def executed(folder: Path, **changes: Any) -> RunFolder:
    tunelab.run({**STUDY, **changes}, out=folder, cluster="in-process")
    (run,) = [run for run in Store(folder).all_runs() if not run.path.name.startswith("base")]
    return run


def test_steps_that_fp16_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scale, "INITIAL", 2.0**40)
    run = executed(tmp_path, methods=["lora"], precision="fp16")
    result = run.read_result()
    assert result is not None and run.read_run().precision == "fp16"
    assert [step.grad_norm for step in run.steps()] == [None] * 4
    assert [step.loss_scale for step in run.steps()] == [2.0**40, 2.0**39, 2.0**38, 2.0**37]
    said = "fp16: 4 of 4 steps were skipped (1, 2, 3, 4): their gradients overflowed at the loss scale"
    assert any(note.startswith(said) for note in result.notes)
    assert any(note.startswith("precision: fp16 on a CPU is slower") for note in result.notes)
    assert said in " ".join((tmp_path / "report.md").read_text().split())


def test_memory_that_ran_out_and_weights_in_bf16(tmp_path, monkeypatch):
    accumulate = TorchSession.accumulate

    def limited(self: TorchSession, batch: Any, **given: Any) -> Any:
        if len(batch.rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return accumulate(self, batch, **given)

    monkeypatch.setattr(TorchSession, "accumulate", limited)
    run = executed(tmp_path, methods=["full"], precision="bf16", weights="bf16")
    result, most = run.read_result(), [step.max_tokens for step in run.steps()]
    assert result is not None and run.read_run().weights == "bf16"
    assert most[0] is not None and most[0] < 512 and sorted(most, reverse=True) == most
    assert any(
        note.startswith(f"memory ran out: micro-batches of at most {most[0]} from step 1") for note in result.notes
    )
    assert result.optimizer[0]["weights"] == "bf16, rounded at random"
    report = " ".join((tmp_path / "report.md").read_text().split())
    assert "memory ran out: micro-batches of at most" in report and "trained matrices held in" in report
