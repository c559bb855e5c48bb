"""The command line as a function, and one finished study on a random model."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import tunelab
from tunelab import cli

STUDY = """
name: small
model: {model}
tasks:
  - name: restaurants
    train_rows: 24
    validation_rows: 4
    test_rows: 6
    metrics: [rouge_l, perplexity]
methods:
  - full: {{learning_rate: 1e-3}}
  - lora: {{rank: 2, alpha: 4, targets: attention, learning_rate: 1e-3}}
seeds: [0]
budget: {{steps: 2}}
precision: fp32
threads: 1
generation: {{max_new_tokens: 4}}
"""


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys) -> Callable[..., Answer]:
    """`command("plan", "quickstart")` is `tunelab plan quickstart`, in this process."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["tunelab", *map(str, arguments)])
        monkeypatch.setattr("tunelab.launch.terminal.at_work.PATIENCE_SECONDS", float("inf"))  # however busy this host
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Answer(end.value.code or 0, *capsys.readouterr())

    return call


class FinishedStudy(NamedTuple):
    file: Path
    out: Path

    def run(self, method: str) -> Path:
        return next((self.out / "runs").glob(f"{method}--*"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> FinishedStudy:
    """Base, full and lora after two steps each; nothing here may change it."""
    import tiny

    folder = tmp_path_factory.mktemp("finished")
    tiny.model_folder(folder / "llama")
    study = folder / "small.yaml"
    study.write_text(STUDY.format(model="llama"))
    outcome = tunelab.run(study, out=folder / "out", cluster="in-process")
    assert outcome.num_failed == 0
    return FinishedStudy(study, folder / "out")
