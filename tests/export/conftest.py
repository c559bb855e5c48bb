"""One finished study on a random model and rows of its own, which every export here reads and none changes."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import tunelab

STUDY = """
name: small
model: llama
tasks:
  - {name: replies, train: train.jsonl, test: test.jsonl, prompt: "{question}\\n", target: "{answer}", metrics: [perplexity]}
methods:
  - full: {learning_rate: 1e-3}
  - lora: {rank: 2, alpha: 4, learning_rate: 1e-2}
seeds: [0]
budget: {steps: 3}
batch: {examples: 4}
precision: fp32
threads: 1
"""  # noqa: E501


class Study(NamedTuple):
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def run(self, method: str) -> Path:
        return next((self.out / "runs").glob(f"{method}--*"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Study:
    import tiny

    folder = tmp_path_factory.mktemp("export")
    tiny.model_folder(folder / "llama")
    for name, count in (("train", 12), ("test", 6)):
        rows = [{"question": f"{name} {number}?", "answer": f"it is {number * 7}"} for number in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "small.yaml").write_text(STUDY)
    outcome = tunelab.run(folder / "small.yaml", out=folder / "out", cluster="in-process")
    assert outcome.num_failed == 0
    return Study(folder)


@pytest.fixture
def own(finished, tmp_path) -> Study:
    """A copy of the runs that a test may change; the base model stays where it is."""
    shutil.copytree(finished.out, tmp_path / "out")
    return Study(tmp_path)
