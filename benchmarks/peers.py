"""Tunelab beside Hugging Face Trainer + PEFT, bitsandbytes, galore-torch and TRL on the same work: W1 to W8.

    python benchmarks/peers.py [W1 W4 ...] [--pairs 5] [--steps 10] [--only ours|peer] [--precision fp32] [--profile]

Same random weights, rows, examples a step, threads and losses. Each side is a process of its own; the two take turns,
and each pair begins with the other one. Speed is the median over pairs of real tokens a processor second of the steady
steps; memory is the peak of the train phase above the loaded weights, by the kernel's high-water mark. `fp32` and
`bf16` give both sides the same type and the same setting of products; `shipped` is tunelab with `precision: auto`
against the peer as its documentation has it. Losses that differ by more than 1e-4 (2e-3 in bf16, 1e-2 where the sides'
types differ) are an error: the table says so, and the exit status is 1. Writes peers.md and peers.json into --out.

Hours of it need not be one call: every run of a side is kept in --folder, and a later call with the same folder, steps,
threads and source of tunelab takes it from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from side_by_side.compare import Comparison, compare
from side_by_side.table import facts, show, write
from side_by_side.workloads import MODES, Mode, Workload, named

ROOT = Path(__file__).resolve().parents[1]


def has_bf16() -> bool:
    from tunelab.backends.torch.backend import TorchHf

    return TorchHf().resolve(precision="auto", threads=1)[0] == "bf16"


def run_side(side: str, workload: Workload, mode: Mode, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own. Raises SystemExit where it fails."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".out-") as out:
        command = [sys.executable, "-m", "side_by_side.one", side, workload.name, mode, str(folder), out]
        command += ["--steps", str(given.steps), "--warm-up", str(given.warm_up), "--threads", str(given.threads)]
        wanted = {"tiny": given.tiny, "profile": given.profile, "floor": side == "ours" and not given.no_floor}
        command += [f"--{name}" for name, on in wanted.items() if on]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(side, given))
    if done.returncode:
        raise SystemExit(f"{workload.name} {mode}, {side} failed:\n{done.stderr[-4000:]}")
    if given.profile and side != "prepare":
        print(f"{workload.name} {mode}, {side}: its last step\n{done.stderr[done.stderr.find('-----') :]}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(side: str, given: argparse.Namespace) -> dict[str, str]:
    """Threads are the same for both sides; ours has all else that tunelab sets for its workers, too."""
    from tunelab.launch.executor import worker_environment

    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), str(given.threads))
    worker: Any = SimpleNamespace(threads=given.threads)
    found = {**os.environ, **threads, "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    found |= {} if side == "peer" else worker_environment(worker)
    paths = [str(ROOT / "benchmarks"), str(given.src.absolute()), os.environ.get("PYTHONPATH", "")]
    return {**found, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def kept_runs(folder: Path, given: argparse.Namespace) -> tuple[str, dict[str, dict[str, Any]]]:
    """What makes runs alike beside workload, mode, side and pair; and such runs, which an earlier call made."""
    sources = sorted(given.src.rglob("*.py"))
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    alike = f"{code} steps {given.steps} warm-up {given.warm_up} threads {given.threads} tiny {given.tiny}"
    file = folder / "runs.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return alike, {line["key"]: line["run"] for line in lines if line["alike"] == alike}


def kept_run(key: str, folder: Path, given: argparse.Namespace, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    alike, runs = kept_runs(folder, given)
    if key in runs and not given.profile:
        return runs[key]
    run = make()
    with (folder / "runs.jsonl").open("a") as file:
        file.write(json.dumps({"alike": alike, "key": key, "run": run}) + "\n")
    return run


def measure(workload: Workload, mode: Mode, folder: Path, given: argparse.Namespace) -> Comparison:
    """All pairs of one comparison, the sides in turn."""
    about = run_side("prepare", workload, mode, folder, given)
    sides = {"ours": "ours", "peer": "other" if workload.peer == "ours" else "peer"}
    taken: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for pair in range(given.pairs):
        for side in list(sides) if pair % 2 == 0 else list(reversed(sides)):
            if given.only in (side, "both"):
                key, make = f"{workload.name} {mode} {side} {pair}", (sides[side], workload, mode, folder, given)
                taken[side].append(kept_run(key, folder, given, partial(run_side, *make)))
                print(f"{workload.name} {mode}, pair {pair + 1}: {show(side, taken[side][-1])}", flush=True)
    return compare(workload, mode, about, ours=taken["ours"], peer=taken["peer"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help="W1 ... W8, or one part, as W4-galore; none: all")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of which the first --warm-up are not counted")
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["ours", "peer", "both"], default="both")
    parser.add_argument("--precision", choices=MODES, action="append", help="may be repeated; none: all there are here")
    parser.add_argument("--profile", action="store_true", help="what the last step of each side spends its time on")
    parser.add_argument("--no-floor", action="store_true", help="do not measure products at the end of our side")
    parser.add_argument("--tiny", action="store_true", help="tiny models on generated rows: whether it runs")
    parser.add_argument("--folder", type=Path, help="keep models, rows and runs here; none: temporary")
    parser.add_argument("--src", type=Path, default=ROOT / "src", help="of the tunelab that is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    given = parser.parse_args()
    chosen = named(given.workloads)
    sys.path.insert(0, str(given.src.absolute()))
    modes = given.precision or [mode for mode in MODES if mode != "bf16" or has_bf16()]
    with tempfile.TemporaryDirectory(prefix="tunelab-peers-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for workload in chosen:
            for mode in (mode for mode in modes if mode in workload.modes):
                found.append(measure(workload, mode, folder.absolute(), given))
                if given.only == "both":
                    print(found[-1].line(), flush=True)
                write(given.out, found, facts(given))  # so that what is measured is kept if the next one fails
    print(f"{given.out / 'peers.md'}, {given.out / 'peers.json'}")
    if any(each.losses_differ for each in found):
        sys.exit("losses differ: see the table")


if __name__ == "__main__":
    main()
