"""Data preparation: seconds of the first and the second start, and the memory that rows take, each in its own process.

    python benchmarks/reading.py FOLDER [--rows 50000 ...] [--timed 50000] [--length 300] [--steps 200] [--flat 3]

Generated jsonl (about `--length` bytes a row, 1,000 test rows) goes through tunelab's own preparation with
tunelab/tiny's tokenizer: read and checked, 500 rows held out for validation, compared with test, tokenised, kept. Then
one epoch of steps of 16 rows is cut into micro-batches and every id is read once. `--timed`: the first and the second
start of so many rows. `--steps`: so many steps of LoRA on tunelab/tiny are trained then, after ten that do not count,
and their tokens told for each second of the processor and of the wall. `--flat 3`: nothing but those steps, three times
for each number of rows in turn, and the medians: whether training is as fast on many rows. `--drawn`: `train_rows` of
the task. Peaks are resident memory as the kernel counts it (VmHWM), mapped file pages included, less the memory before
preparation, when libraries and tokenizer are loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TEST_ROWS = 1000
STUDY = """
name: data
model: tunelab/tiny
tasks:
  - name: rows
    train: {train}
    test: {test}
    prompt: "{{question}}"
    target: "{{answer}}"
    metrics: [loss]
    train_rows: {drawn}
methods: [lora]
batch: {{examples: 16}}
budget: {{epochs: 1}}
"""
WORDS = (
    "the river town kept its old mill running through every winter because nobody there would let it stop and when "
    "spring came people walked along both banks looking for what high water had left behind under wet branches"
).split()


def write_rows(path: Path, *, count: int, length: int, seed: int) -> None:
    if path.exists():
        return
    made = random.Random(seed)
    temporary = path.with_suffix(".part")
    with temporary.open("w", encoding="utf-8") as file:
        for number in range(count):
            words = made.choices(WORDS, k=length // 6)
            half = len(words) * 2 // 3
            row = {"question": f"{number} {' '.join(words[:half])}?", "answer": " ".join(words[half:])}
            file.write(json.dumps(row) + "\n")
    temporary.rename(path)


def status(name: str) -> float:
    """MiB, of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def parses() -> list[int]:
    """How many rows have been parsed from JSON in this process, counted from now on."""
    from tunelab.data.reading import row_formats

    real, count = row_formats.parse_json, [0]

    def counted(text: str) -> Any:
        count[0] += 1
        return real(text)

    row_formats.parse_json = counted
    return count


def measure(train: Path, test: Path, options: argparse.Namespace) -> dict[str, float]:
    """In this process, which has done nothing else."""
    from tunelab.config.read import read_study
    from tunelab.data.tokens.batching import Order, micro_batches
    from tunelab.study.executing.prepare import prepare
    from tunelab.study.planning.plan import load_backend, make_plan
    from tunelab.study.planning.planned import Revisions
    from tunelab.study.planning.run_config import base_run

    count = parses()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    plan = make_plan(read_study(text=STUDY.format(train=train, test=test, drawn=options.drawn or "null")))
    planned, planned_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    backend = load_backend("torch")
    model = plan.study.model.model_copy(update={"initialize": "random"})
    text = backend.text(model, backend.locate(model))
    text.tokenizer(["warm"])
    run = base_run(plan, plan.tasks[0], "torch", Revisions())
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = status("VmRSS")
    begun, begun_cpu = time.perf_counter(), time.process_time()
    data = prepare(plan.tasks[0].task, text, run, training=True)
    prepared, prepared_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    prepare_peak = status("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    begun, begun_cpu, checksum = time.perf_counter(), time.process_time(), 0
    order = Order(data.train, seed=0, examples=run.batch.examples, budget=run.budget)
    for number in range(1, 1 if options.flat else order.num_steps + 1):
        for batch in micro_batches(order.step(number), max_tokens=run.batch.max_tokens):
            checksum += sum(int(row.ids.sum()) + row.num_supervised for row in batch.rows)
    epoch, epoch_cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    epoch_peak = status("VmHWM") - before
    trained = train_steps(backend, plan, run, text, data.train, options.steps) if options.steps else {}
    return {
        **trained,
        "parsed": count[0],
        "rows": len(data.train),
        "tokens": int(data.train.sizes.num_tokens.sum()),
        "plan_seconds": planned,
        "plan_cpu_seconds": planned_cpu,
        "prepare_seconds": prepared,
        "prepare_cpu_seconds": prepared_cpu,
        "epoch_seconds": epoch,
        "epoch_cpu_seconds": epoch_cpu,
        "prepare_peak_mib": prepare_peak - before,
        "epoch_peak_mib": epoch_peak,
        "before_mib": before,
        "checksum": checksum,
    }


def train_steps(backend: Any, plan: Any, run: Any, text: Any, rows: Any, count: int) -> dict[str, float]:
    from tunelab.config.schema import Budget
    from tunelab.training.step import run_order, take_step

    method, warm, num_tokens = plan.methods[0].method, 10, 0
    fields = plan.methods[0].fields(plan.methods[0].candidates[0])
    run = run.model_copy(update={"method": fields, "budget": Budget(steps=warm + count)})
    order = run_order(run, rows)
    located = backend.locate(run.model)
    session = backend.session(run, method, located=located, text=text, notes=[])
    method.prepare(session, order, run)
    for number in range(1, warm + count + 1):
        if number == warm + 1:
            begun, begun_cpu = time.perf_counter(), time.process_time()
        taken = take_step(session, run, order, number, peak=1e-3)
        num_tokens += taken.num_tokens * (number > warm)
    wall, processor = time.perf_counter() - begun, time.process_time() - begun_cpu
    return {"tokens_per_cpu_second": num_tokens / processor, "tokens_per_second": num_tokens / wall}


def in_own_process(folder: Path, train: Path, test: Path, options: argparse.Namespace) -> dict[str, float]:
    environment = {**os.environ, "TUNELAB_CACHE": str(folder / "cache")}
    command = [sys.executable, __file__, str(folder), "--measure", str(train), str(test)]
    command += ["--steps", str(options.steps), "--drawn", str(options.drawn), "--flat", str(options.flat)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def shown(name: str, result: dict[str, float]) -> None:
    seconds = [
        f"{phase} {result[f'{phase}_seconds']:.2f} ({result[f'{phase}_cpu_seconds']:.2f})"
        for phase in ("plan", "prepare", "epoch")
    ]
    print(f"{name}, seconds (of the processor): {', '.join(seconds)}")
    print(
        f"    MiB above {result['before_mib']:.0f}: prepare {result['prepare_peak_mib']:.0f}, epoch "
        f"{result['epoch_peak_mib']:.0f}; {result['rows']} train rows, {result['tokens']} tokens, checksum "
        f"{result['checksum']}, {result['parsed']} lines parsed",
        flush=True,
    )
    if "tokens_per_second" in result:
        print(
            f"    trained: {result['tokens_per_cpu_second']:.0f} tokens for each second of the processor, "
            f"{result['tokens_per_second']:.0f} of the wall",
            flush=True,
        )


def flat(folder: Path, test: Path, options: argparse.Namespace) -> None:
    """Tokens a processor second by number of rows: every repeat takes each number once, in an order of its own."""
    found: dict[int, list[float]] = {count: [] for count in options.rows}
    for repeat in range(options.flat + 1):  # the first prepares, and does not count
        for count in options.rows[repeat % len(options.rows) :] + options.rows[: repeat % len(options.rows)]:
            train = folder / f"train-{count}.jsonl"
            write_rows(train, count=count, length=options.length, seed=count)
            result = in_own_process(folder, train, test, options)
            speed = result["tokens_per_cpu_second"]
            print(f"{count} rows, {'prepared' if not repeat else f'repeat {repeat}'}: {speed:.0f}", flush=True)
            found[count] += [speed] if repeat else []
    fastest = max(statistics.median(speeds) for speeds in found.values())
    for count, speeds in found.items():
        middle = statistics.median(speeds)
        print(f"{count} rows: {middle:.0f} tokens a processor second, {middle / fastest:.3f} of the fastest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--timed", type=int, default=50_000)
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--flat", type=int, default=0, metavar="REPEATS")
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options)))
        return
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    test = folder / "test.jsonl"
    write_rows(test, count=TEST_ROWS, length=options.length, seed=1)
    if options.flat:
        flat(folder, test, options)
        return
    for count in (*options.rows, *([options.timed] if options.timed else [])):
        train = folder / f"train-{count}.jsonl"
        write_rows(train, count=count, length=options.length, seed=count)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        print(f"{count} rows, {train.stat().st_size / 1e6:.0f} MB")
        for start in ("first start", "second start"):
            shown(f"  {start}", in_own_process(folder, train, test, options))


if __name__ == "__main__":
    main()
