"""Predicted memory beside measured: every method on four kinds of model, in two precisions, with two token budgets.

    python benchmarks/predicted_memory.py OUT.json [SHAPE ...] [--precisions fp32,bf16] [--tokens 512,1024] [--mapped]

Each case is a process of its own, with a worker's settings of glibc's heap: random weights, the method, three steps of
one micro-batch. Measured is the peak of resident memory from the first step on, above what was resident before it:
weights are on neither side. Predicted is the forecast's train phase without weights and process, which is made without
weights. What OUT holds already is not measured again, and all of it is predicted anew. `--mapped`: glibc maps every
piece of 256 KiB or more and gives it back when it is freed, as GLIBC_TUNABLES=glibc.malloc.mmap_threshold does, so that
its heap has no holes: what remains is what the trace can tell.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from side_by_side.workloads import FLAN_T5, GEMMA, GPT2, LLAMA, Shape

from tunelab.backends.torch.foresight.forecasting import FIRST_USE, batch_of, forecast
from tunelab.backends.torch.foresight.network import NoText
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import set_storage
from tunelab.config.run import RunConfig
from tunelab.entries import HOLES, PROCESS, weights
from tunelab.launch.executor import HEAP
from tunelab.models.load import build
from tunelab.study.planning.plan import method_of
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import method_run

MIB = 2**20
KEYS = ("shape", "precision", "tokens", "method", "mapped")
"""A case."""
SHAPES: dict[str, Shape] = {"gpt2": GPT2, "llama": LLAMA, "t5": FLAN_T5, "gemma": GEMMA}
LOW = {"rank": 8}
PROJECTED = {"rank": 64, "update_gap": 2}
METHODS: list[dict[str, Any]] = [
    {"full": {}},
    {"lora": LOW},
    {"dora": LOW},
    {"qlora": LOW},
    {"rosa": {**LOW, "density": 0.01}},
    {"galore": PROJECTED},
    {"q_galore": PROJECTED},
    {"apollo": PROJECTED},
    {"lisa": {"layers": 1, "period": 2}},
    {"peft_any": {"type": "LOHA", "r": 8}},
    {"layerwise": {"parts": [{"galore": PROJECTED}, {"lora": LOW}], "first": "attention"}},
]
ENDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
LENGTHS = (187, 160, 142, 131, 125, 117, 98, 64)
"""Of rows, about those of GSM8K; the last third of each is learned."""


def planned(folder: Path, shape: str, precision: str, tokens: int) -> list[RunConfig]:
    """A run a method, of a folder that holds a configuration alone."""
    import tunelab

    sizes = SHAPES[shape]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": sizes.type, **sizes.sizes, **ENDS}))
    plan = tunelab.load_study(
        {"model": str(folder), "tasks": [{"name": "restaurants", "metrics": ["loss"]}], "methods": METHODS,
         "precision": precision, "batch": {"max_tokens": tokens}, "threads": 1}
    )  # fmt: skip
    revisions = Revisions(precision=plan.study.precision, max_tokens=tokens)
    return [
        method_run(plan, plan.tasks[0], "torch", revisions, method=each, seed=0, candidate=each.candidates[0])
        for each in plan.methods
    ]


def rows(shape: str, tokens: int) -> list[tuple[int, int, int]]:
    found, total = [], 0
    while total + (length := LENGTHS[len(found) % len(LENGTHS)]) <= tokens:
        found.append((length // 3, length // 3, length) if shape == "t5" else (length, length // 3, 0))
        total += length
    return found


def session_of(run: RunConfig) -> TorchSession:
    """Over random weights, on the path that a run takes where `verify` finds nothing; one thread."""
    from transformers import AutoConfig

    torch.manual_seed(0)
    torch.set_num_threads(1)
    method = method_of(run.method)
    assert method is not None
    found = json.loads((Path(run.model.name) / "config.json").read_text())
    config = AutoConfig.for_model(found.pop("model_type"), **found)
    model = method.attach(build(config, tied=found.get("tie_word_embeddings")), seed=0)
    set_storage(model, precision=run.precision, weights=run.weights)
    session = TorchSession(model, method, run, NoText(), [])
    session.one_row, session.faster, _ = session._ways()[0]
    session.fast = session.plain_head = True
    return session


def measured(run: RunConfig, sizes: list[tuple[int, int, int]]) -> float:
    """MiB that three steps take at their highest, above the model with its method."""
    from tunelab.training.telemetry import ResidentMemory

    session, batch = session_of(run), batch_of(sizes)
    ctypes.CDLL(None).malloc_trim(0)
    memory = ResidentMemory()
    before = memory.current_gib()
    memory.reset()
    for _ in range(3):
        session.accumulate(batch, denominator=float(batch.num_supervised), last=True)
        session.gradient_norm()
        session.update(learning_rate=1e-4, max_norm=1.0)
    peak = memory.peak_gib()
    assert peak is not None and before is not None, "Linux alone tells"
    return (peak - before) * 1024


def forked(work: Callable[[], Any]) -> Any:
    """What it gives in a fork, which is as the first run of a process. None: it failed."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(outlet, json.dumps(work()).encode())
        os._exit(0)
    os.close(outlet)
    with os.fdopen(inlet) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def case(run: RunConfig, shape: str, tokens: int, *, mapped: bool) -> float | None:
    def work() -> float:
        if mapped:
            ctypes.CDLL(None).mallopt(-3, 256 * 1024)
        return measured(run, rows(shape, tokens))

    return forked(work)


def predicted(run: RunConfig, shape: str, tokens: int) -> dict[str, Any]:
    """MiB of what is measured: by the trace, and of the heap's holes."""
    told = forecast(run, method_of(run.method), rows(shape, tokens), on_gpu=False)
    parts = {} if told is None else told.train
    trace = sum(size for name, size in parts.items() if name not in (PROCESS, HOLES)) - weights(parts)
    return {"trace": (trace + FIRST_USE[run.precision]) / MIB, "holes": parts.get(HOLES, 0) / MIB, "parts": parts}


def share(found: dict[str, Any]) -> float:
    return (found["trace"] + (0 if found["mapped"] else found["holes"])) / found["measured"] - 1


def measure(found: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    known = {tuple(each[key] for key in KEYS) for each in found}
    for shape in asked.shapes:
        for precision in asked.precisions.split(","):
            for tokens in map(int, asked.tokens.split(",")):
                for run in planned(asked.out.resolve().parent / f"config-{shape}", shape, precision, tokens):
                    key = (shape, precision, tokens, run.method["label"], asked.mapped)
                    if key in known or (told := case(run, shape, tokens, mapped=asked.mapped)) is None:
                        continue
                    found.append({**dict(zip(KEYS, key, strict=True)), "measured": told})
                    asked.out.write_text(json.dumps(found, indent=1))
                    print(*key, f"{told:.0f}", flush=True)


def predict(found: list[dict[str, Any]], out: Path) -> None:
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for each in found:
        shape, precision, tokens, label, _ = (each[key] for key in KEYS)
        place = shape, precision, tokens
        if place not in runs:
            made = planned(out.resolve().parent / f"config-{shape}", shape, precision, tokens)
            runs[place] = {run.method["label"]: run for run in made}
        each |= predicted(runs[place][label], shape, tokens)
        print(f"| {' | '.join(map(str, (*place, label)))} | {each['measured']:.0f} | {each['trace']:.0f} "
              f"| {each['holes']:.0f} | {share(each):+.1%} |", flush=True)  # fmt: skip
    out.write_text(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("shapes", nargs="*", default=[])
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--tokens", default="512,1024")
    parser.add_argument("--mapped", action="store_true")
    parser.add_argument("--measure", action="store_true", help="and predict nothing")
    asked = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in HEAP.items()):  # they count from a process's start on
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **HEAP})
    found = json.loads(asked.out.read_text()) if asked.out.exists() else []
    measure(found, asked)
    if asked.measure:
        return
    predict(found, asked.out)
    for mapped in sorted({each["mapped"] for each in found}):
        off = [abs(share(each)) for each in found if each["mapped"] == mapped]
        print(f"\n{'mapped' if mapped else 'as it is'}: {len(off)} cases: "
              f"median {statistics.median(off):.1%}, worst {max(off):.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
