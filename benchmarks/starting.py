"""Seconds until the commands answer, until a run's first step, of 30 two-step runs, and of a report over 60 runs.

    python benchmarks/starting.py [--source OTHER/CHECKOUT] [--repeats 5] [--only plan]

Every figure is of a fresh process with what it starts, the median of the repeats: processor seconds (user and system),
and seconds on the clock. `--source` measures another checkout by the same script. Caches are empty at first; a row
says where the first call differs from the next ones.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import resource
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
STUDY = """
name: {name}
model: tunelab/tiny
tasks:
  - {{name: restaurants, train_rows: 64, validation_rows: 16, test_rows: 16, metrics: [rouge_l, loss]}}
methods:
  - full
  - lora: {{rank: 8}}
{more}seeds: [{seeds}]
budget: {{steps: 2}}
batch: {{examples: 16, max_tokens: 2048, max_length: 256}}
generation: {{max_new_tokens: 8}}
threads: 1
"""
TWELVE = """
name: twelve
model: meta-llama/Llama-2-7b-hf
tasks:
  - {name: restaurants, train_rows: 64, validation_rows: 16, test_rows: 16, metrics: [rouge_l]}
methods:
  - full
  - lora: {rank: 8}
  - lora: {rank: 64}
  - lora: {rank: 16, targets: attention}
  - qlora: {rank: 16}
  - rosa: {rank: 8}
  - galore: {rank: 128}
  - q_galore: {rank: 128}
  - apollo
  - dora
  - lisa
  - peft_any: {type: IA3}
seeds: [0]
"""


class Seconds(NamedTuple):
    processor: float
    wall: float


class Bench:
    def __init__(self, folder: Path, source: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{source / 'src'}:{ROOT / 'tests'}", "TUNELAB_CACHE": str(folder / "cache"),
        }  # fmt: skip

    def tunelab(self, *arguments: str) -> Seconds:
        """To the end of the command, with the processes that it has started."""
        return self.timed(sys.executable, "-m", "tunelab", *arguments)

    def timed(self, *command: str) -> Seconds:
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
        return Seconds(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)

    def first_line(self, *arguments: str) -> Seconds:
        """Until something stands on a terminal."""
        mine, theirs = pty.openpty()
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelab", *arguments], stdout=theirs, stderr=theirs, stdin=theirs,
            env=self.environment, cwd=self.folder,
        )  # fmt: skip
        text = b""
        while b"planning" not in text:
            assert select.select([mine], [], [], 60)[0], text
            text += os.read(mine, 4096)
        found = Seconds(processor_seconds(process.pid), time.monotonic() - begun)
        process.kill()
        process.wait()
        os.close(mine)
        os.close(theirs)
        return found

    def first_step(self, run: Path) -> Seconds:
        """Of a worker that begins by itself, until it tells its first step."""
        fresh = self.folder / "first-step" / "runs" / run.name
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        shutil.copy(run / "run.json", fresh)
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "tunelab.launch.worker", str(fresh)], stdout=subprocess.PIPE, text=True,
            env=self.environment | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}, cwd=self.folder,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "step":
                break
        found = Seconds(processor_seconds(process.pid), time.monotonic() - begun)
        process.kill()
        process.wait()
        return found


def processor_seconds(pid: int) -> float:
    """That a living process has used until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_records(folder: Path, study: Path) -> None:
    """Records of every run of a study as if it had been executed: 300 examples, 60 steps each."""
    from report.study_folder import write_run
    from tunelab.config.read import dump, read_study
    from tunelab.study.planning.plan import make_plan
    from tunelab.study.planning.planned import Revisions
    from tunelab.study.planning.runs import study_runs
    from tunelab.study.store import Store

    store, plan = Store(folder), make_plan(read_study(study))
    folder.mkdir(parents=True)
    store.study_file.write_text(dump(plan.study))
    for each in study_runs(plan, Revisions(), store, settled=lambda run_id: False):
        if each.run is not None:
            write_run(store.run(each.run.id).path, each.entry, num_examples=300)
    print(len(list((folder / "runs").iterdir())), "runs")


def executed_runs(bench: Bench, number: int) -> dict[str, Seconds]:
    """A study of two-step runs and the base: a run's share of all that the command costs."""
    seeds = ", ".join(map(str, range(number // 2)))
    (bench.folder / "thirty.yaml").write_text(STUDY.format(name="thirty", more="", seeds=seeds))
    shutil.rmtree(bench.folder / "thirty", ignore_errors=True)
    whole = bench.tunelab("run", "thirty.yaml", "--out", "thirty")
    results = [json.loads(path.read_text()) for path in (bench.folder / "thirty" / "runs").glob("*/result.json")]
    trained = [result["phases"]["train"]["seconds"] for result in results if "train" in result["phases"]]
    assert len(trained) == number // 2 * 2
    runs = len(results)
    share = Seconds(whole.processor / runs, whole.wall / runs)
    return {f"a run of {len(trained)} of two steps, which take {statistics.mean(trained):.2f} s on the clock": share}


def measurements(bench: Bench) -> dict[str, Callable[[], Seconds]]:
    folder, python = bench.folder, sys.executable
    methods = "".join(f"  - lora: {{{{rank: {rank}}}}}\n" for rank in (1, 2, 4, 16)).format()
    (folder / "two.yaml").write_text(STUDY.format(name="two", more="", seeds="0"))
    (folder / "sixty.yaml").write_text(STUDY.format(name="sixty", more=methods, seeds="0, 1, 2, 3, 4, 5, 6, 7, 8, 9"))
    (folder / "twelve.yaml").write_text(TWELVE)

    def report() -> Seconds:
        if not (folder / "sixty").exists():
            bench.timed(python, __file__, "--records", str(folder / "sixty"), str(folder / "sixty.yaml"))
        return bench.tunelab("report", "sixty")

    def first_step() -> Seconds:
        runs = folder / "two" / "runs"
        if not runs.exists():
            bench.tunelab("run", "two.yaml", "--out", "two")
        return bench.first_step(next(runs.glob("lora*")))

    def uncounted(study: str) -> Seconds:
        shutil.rmtree(folder / "cache" / "counts", ignore_errors=True)
        return bench.tunelab("plan", study)

    return {
        "import torch": lambda: bench.timed(python, "-c", "import torch"),
        "--help": lambda: bench.tunelab("--help"),
        "list methods": lambda: bench.tunelab("list", "methods"),
        "run: first line": lambda: bench.first_line("run", "two.yaml", "--out", "line"),
        "plan quickstart, nothing kept": lambda: uncounted("quickstart"),
        "plan of 12 methods on 7 B, nothing kept": lambda: uncounted("twelve.yaml"),
        "plan of 12 methods on 7 B, again": lambda: bench.tunelab("plan", "twelve.yaml"),
        "plan of an own study, nothing kept": lambda: uncounted("two.yaml"),
        "plan of an own study, again": lambda: bench.tunelab("plan", "two.yaml"),
        "a worker's first step": first_step,
        "report of 61 runs": report,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=30, help="of two steps")
    parser.add_argument("--only", default="", help="rows with this text in their names")
    parser.add_argument("--records", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.records:
        write_records(*given.records)
        return
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), given.source.resolve())
        print("| | processor seconds | on the clock |\n|---|---|---|", flush=True)
        for name, measure in measurements(bench).items():
            if given.only in name:
                found = [measure() for _ in range(given.repeats)]
                processor, wall = (statistics.median(column) for column in zip(*found, strict=True))
                print(f"| {name} | {processor:.2f} | {wall:.2f} |", flush=True)
        if given.only in "a run of 30 of two steps":
            for name, seconds in executed_runs(bench, given.runs).items():
                print(f"| {name} | {seconds.processor:.2f} | {seconds.wall:.2f} |", flush=True)


if __name__ == "__main__":
    main()
