"""What SLURM costs a grid of 16 short runs: the same study here and on 1, 2 and 4 slots of an emulated cluster.

    python benchmarks/slurm.py [rounds]

The cluster is scripts/slurm-test-cluster on this machine, so that slots share its cores: with more slots than cores a
grid gains nothing by computing, and what is seen is waiting. Each run of `tunelab/tiny` trains a few steps with one
thread. Overhead: what a run takes more than here with as many at a time, waves, the job that continues the study and
the report included. Medians over the rounds, which interleave the ways.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "slurm-test-cluster"
RUNS = 16
STUDY = """
name: grid
model: tunelab/tiny
tasks: [{name: restaurants, train_rows: 40, validation_rows: 4, test_rows: 4, metrics: [loss]}]
methods: [{lora: {learning_rate: 1e-3}}]
seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
budget: {steps: 5}
batch: {examples: 4, max_tokens: 512}
threads: 1
"""


def tunelab(folder: Path, out: str, *overrides: str) -> None:
    more = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "tunelab", "run", str(folder / "study.yaml"), "--out", str(folder / out), *more]
    subprocess.run([*command, "--wait"], check=True, stdout=subprocess.DEVNULL)
    assert len(list((folder / out).glob("runs/*/result.json"))) == RUNS


def local(workers: int) -> Callable[[Path, str], None]:
    return lambda folder, out: tunelab(folder, out, f"launch.workers={workers}")


def slurm(slots: int) -> Callable[[Path, str], None]:
    return lambda folder, out: tunelab(folder, out, "launch.cluster=slurm", f"launch.slurm.at_once={slots}")


WAYS = {
    ("here", 1): local(1), ("SLURM", 1): slurm(1), ("here", 2): local(2), ("SLURM", 2): slurm(2),
    ("here", 4): local(4), ("SLURM", 4): slurm(4),
}  # fmt: skip


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "study.yaml").write_text(STUDY)
        cluster = ["--folder", str(folder / "slurm")]
        started = subprocess.run([SCRIPT, "start", *cluster], check=True, capture_output=True, text=True)
        os.environ["SLURM_CONF"] = started.stdout.strip().removeprefix("export SLURM_CONF=")
        seconds: dict[tuple[str, int], list[float]] = {way: [] for way in WAYS}
        try:
            for number in range(rounds):
                for way, run in WAYS.items():
                    began = time.monotonic()
                    run(folder, f"{number}-{way[0]}-{way[1]}")
                    seconds[way].append(time.monotonic() - began)
        finally:
            subprocess.run([SCRIPT, "stop", *cluster], check=True, capture_output=True)
    print(f"{RUNS} runs, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}, rounds {rounds}\n")
    print("| at a time | here (s) | SLURM (s) | overhead a run (s) |\n|---|---|---|---|")
    for slots in (1, 2, 4):
        here, there = (statistics.median(seconds[place, slots]) for place in ("here", "SLURM"))
        overhead = statistics.median(
            (b - a) * slots / RUNS for a, b in zip(seconds["here", slots], seconds["SLURM", slots], strict=True)
        )
        print(f"| {slots} | {here:.0f} | {there:.0f} | {overhead:.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
