"""Resident memory of QLoRA's training against LoRA's over a bf16 base, each run in a process of its own.

    python benchmarks/qlora_memory.py FOLDER [--layers 24] [--width 1024] [--rank 8] [--precision bf16] [--load]

A LLaMA-like model with random weights is written to FOLDER once (bf16 safetensors, files of 100 MB). Both methods train
two steps of one row through tunelab's own run (`study.execute`), and what is printed is that run's `result.json`: peaks
by phase less the resident memory of the process before loading, when every library was imported already. With --load
the model is only loaded: by lora, by qlora, and by qlora as a whole before it is quantised.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = ("lora", "qlora")
WHOLE = "qlora-whole"
WORDS = "the river town kept its old mill running through every winter because nobody there would let it stop".split()
STUDY = """
name: qlora-memory
model: {model}
tasks:
  - name: rows
    train: {rows}
    test: {test}
    prompt: "{{question}}"
    target: "{{answer}}"
    metrics: [loss]
methods:
  - lora: {{rank: {rank}}}
  - qlora: {{rank: {rank}}}
seeds: [0]
budget: {{steps: 2}}
batch: {{examples: 1, max_tokens: 64, max_length: 64}}
precision: {precision}
threads: 1
validation: {{every: 100}}
"""


def write_model(folder: Path, *, layers: int, width: int) -> int:
    """A random model with tunelab/tiny's tokenizer; returns the number of its parameters."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from tunelab.models.load import EMBEDDED

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])
    inner = 11 * width // 4
    sizes = dict(hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=width // 64)
    config = LlamaConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=512, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="100MB")
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def write_rows(file: Path, *, first: int, last: int) -> None:
    """Different rows of 40 to 64 tokens."""
    numbers = range(first, last + 1)
    rows = [{"question": " ".join(WORDS[n:] + WORDS[:n]), "answer": " ".join(WORDS[: 8 + n])} for n in numbers]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def load_one(study: Path, method: str, out: Path) -> dict[str, Any]:
    """Open the session of the study's run of that method in this process."""
    import time

    import bitsandbytes  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    from tunelab.backends.torch import loading
    from tunelab.study.planning.plan import parts
    from tunelab.training.telemetry import ResidentMemory

    run = planned_run(study, method.removesuffix("-whole"), out)
    if method == WHOLE:
        loading.load_quantised = lambda *given, **options: None
    backend, memory = parts(run).backend, ResidentMemory()
    located = backend.locate(run.model)
    text = backend.text(run.model, located)
    memory.reset()
    before, began = memory.current_gib(), time.perf_counter()
    session = backend.session(run, parts(run).method, located=located, text=text, notes=[])
    seconds, peak, after = time.perf_counter() - began, memory.peak_gib() - before, memory.current_gib() - before
    tensors = {id(value): value for value in (*session.model.parameters(), *session.model.buffers())}
    held = sum(value.numel() * value.dtype.itemsize for value in tensors.values()) / 2**20
    return {"method": method, "seconds": seconds, "peak_mib": peak * 1024, "after_mib": after * 1024, "held_mib": held}


def planned_run(study: Path, method: str, out: Path) -> Any:
    from tunelab.config.read import read_study
    from tunelab.launch.run import settle
    from tunelab.study.planning.plan import make_plan
    from tunelab.study.planning.runs import study_runs
    from tunelab.study.store import Store

    store = Store(out)
    plan, revisions = settle(make_plan(read_study(study)), store)
    runs = study_runs(plan, revisions, store, settled=lambda run_id: False)
    return next(each.run for each in runs if each.run.method["name"] == method)


def run_one(study: Path, method: str, out: Path) -> dict[str, Any]:
    """Execute the study's run of that method in this process."""
    import bitsandbytes  # noqa: F401  before the first measurement: a library is not what a method holds
    import transformers.models.llama.modeling_llama  # noqa: F401

    from tunelab.study.executing.execute import execute
    from tunelab.study.planning.plan import parts
    from tunelab.study.store import Store
    from tunelab.training.telemetry import ResidentMemory

    run = planned_run(study, method, out)
    folder = Store(out).run(run.id)
    folder.ensure_run(run)
    before = ResidentMemory().current_gib()
    result = execute(run, parts(run), folder, lambda event: None)
    peaks = {name: (cost.peak_gib - before) * 1024 for name, cost in result.phases.items()}
    return {
        "method": method,
        "before_mib": before * 1024,
        "loaded_mib": (result.loaded_gib - before) * 1024,
        "peaks_mib": peaks,
        "peak_method": result.phases["train"].peak_method,
        "train_seconds": result.phases["train"].seconds,
        "trainable": result.trainable_parameters,
        "total": result.total_parameters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--load", action="store_true", help="load only")
    parser.add_argument("--method", choices=[*METHODS, WHOLE], help="execute this one here, and print JSON")
    given = parser.parse_args()
    study, model = given.folder.absolute() / "study.yaml", given.folder.absolute() / "model"
    if given.method:
        measure = load_one if given.load else run_one
        print(json.dumps(measure(study, given.method, given.folder / "results" / given.method)))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    if not (model / "config.json").exists():
        print(f"{write_model(model, layers=given.layers, width=given.width):,} parameters written to {model}")
    rows, test = given.folder.absolute() / "rows.jsonl", given.folder.absolute() / "test.jsonl"
    write_rows(rows, first=0, last=7)
    write_rows(test, first=8, last=8)
    settings = dict(rank=given.rank, precision=given.precision, rows=rows, test=test)
    study.write_text(STUDY.format(model=model, **settings))
    found = {}
    for method in [*METHODS, *([WHOLE] if given.load else [])]:
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--method", method], stdout=subprocess.PIPE)
        if done.returncode:
            sys.exit(f"{method} failed")
        found[method] = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps(found[method], indent=2))
    for phase in found["lora"].get("peaks_mib", ()):
        peaks = [found[method]["peaks_mib"][phase] for method in METHODS]
        print(f"{phase}: lora {peaks[0]:.0f} MiB, qlora {peaks[1]:.0f} MiB, ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
