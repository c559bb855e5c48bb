"""Weights in fp32, in bf16 rounded at random, and in bf16 rounded to the nearest: losses and bytes on E2E's rows.

    python benchmarks/weights.py --e2e FOLDER [--steps 40] [--seeds 0 1]

FOLDER: trainset.csv, devset.csv, testset_w_refs.csv. Prints the table of benchmarks/weights_*.md. Runs are those of
`tunelab run` on the embedded model, with products in bf16; rounding to the nearest is no option of a study, so this
process puts it in the other's place. Bytes are counted on the live objects, once a run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import tunelab
from tunelab.backends.torch.session import TorchSession
from tunelab.study.store import Store

MIB = 1024**2
CASES = (
    ("full", {"full": {"learning_rate": 1e-3}}),
    ("full, low rate", {"full": {"learning_rate": 5e-5}}),
    ("galore", {"galore": {"learning_rate": 4e-3, "rank": 32, "projector": "random"}}),
)
WAYS = ("fp32", "bf16, at random", "bf16, to the nearest")


def study(method: dict[str, Any], e2e: Path, *, weights: str, steps: int, seeds: list[int]) -> dict[str, Any]:
    rows = {"train_rows": 1200, "validation_rows": 100, "test_meanings": 20}
    return {
        "name": "weights",
        "model": "tunelab/tiny",
        "tasks": [{"name": "e2e_nlg", "path": str(e2e), "metrics": ["loss"], **rows}],
        "methods": [method],
        "seeds": seeds,
        "budget": {"steps": steps},
        "batch": {"examples": 16, "max_tokens": 1024, "max_length": 128},
        "precision": "bf16",
        "weights": weights,
        "threads": 1,
        "validation": {"every": 10.0},
    }


@contextmanager
def to_the_nearest() -> Iterator[None]:
    def rounded(parameter: torch.Tensor, wide: torch.Tensor, **draw: int) -> None:
        parameter.copy_(wide)

    with (
        patch("tunelab.training.narrow.rounding.round_into", rounded),
        patch("tunelab.training.narrow.updates.round_into", rounded),
    ):
        yield


@contextmanager
def weighed(found: list[tuple[float, float]]) -> Iterator[None]:
    """MiB of weights, and of gradients with what the optimizer remembers, at the end of each run's training."""
    write_model = TorchSession.write_model

    def counted(session: TorchSession, folder: Path) -> float:
        parameters = list(session.model.parameters())
        gradients = sum(parameter.nbytes for parameter in parameters)
        for target in getattr(session.updater, "targets", {}).values():  # their whole gradients are never held
            gradients += target.low.stand_in.numel() * 4 - target.matrix.parameter.nbytes
        state = sum(value.nbytes for value in session.updater.state().values())
        found.append((sum(parameter.nbytes for parameter in parameters) / MIB, (gradients + state) / MIB))
        return write_model(session, folder)

    with patch.object(TorchSession, "write_model", counted):
        yield


def measure(method: dict[str, Any], way: str, given: argparse.Namespace) -> str:
    asked = study(method, given.e2e, weights=way.partition(",")[0], steps=given.steps, seeds=given.seeds)
    held: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, weighed(held), redirect_stdout(StringIO()):
        began = time.process_time()
        if way.endswith("nearest"):
            with to_the_nearest():
                tunelab.run(asked, out=folder, cluster="in-process")
        else:
            tunelab.run(asked, out=folder, cluster="in-process")
        seconds = time.process_time() - began
        results = [run.read_result() for run in Store(Path(folder)).all_runs()]
    losses = [result.validation_loss for result in results if result.method != "base"]
    base = [result.scores["loss"].value for result in results if result.method == "base"]
    spread = f" ({min(losses):.4f} to {max(losses):.4f})" if len(losses) > 1 else ""
    weights, rest = held[0]
    return f"| {statistics.mean(losses):.4f}{spread} | {weights:.1f} | {rest:.1f} | {seconds:.0f} | {base[0]:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--e2e", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    given.e2e = given.e2e.absolute()
    print("| method | weights | validation loss | weights (MiB) | gradients and state (MiB) | s | base's test loss |")
    for name, method in CASES:
        for way in WAYS:
            print(f"| {name} | {way} {measure(method, way, given)}", flush=True)


if __name__ == "__main__":
    main()
