"""GaLore against full AdamW on one LLaMA-like model: step time, peak, live bytes, and what a refresh costs and misses.

    python benchmarks/galore_step.py [--threads 2] [--pairs 8] [--shared FOLDER] [--part memory:lisa]

Prints the tables of benchmarks/galore-step_*.md. Steps of both alternate in one process, so that other load falls on
both; each peak is of a process of its own. LISA is there for its memory only.
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from tunelab.backends.torch.products import medium_is_exact
from tunelab.backends.torch.session import TorchSession
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.kernels.projector import Projector, overlap
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.lisa import Lisa, blocks
from tunelab.models.load import EMBEDDED
from tunelab.records import Batch, TokenRow
from tunelab.training.telemetry import Meter, ResidentMemory

RANK, GAP, VOCABULARY, MICRO_BATCHES, ROWS, LENGTH = 128, 200, 2048, 4, 4, 128
TIMED = ("full", "galore")
METHODS = {"full": Full(), "galore": Galore(rank=RANK, update_gap=GAP), "lisa": Lisa(layers=2, period=2)}
MEMORY = tuple(f"memory:{name}" for name in METHODS)
MIB = 1024**2


class NoTokenizer:
    eos_token_id, pad_token_id = 1, 0


def llama(hidden: int = 768, intermediate: int = 2048, layers: int = 6, vocabulary: int = VOCABULARY):
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )
    return AutoModelForCausalLM.from_config(config)


def session(name: str, model) -> TorchSession:
    run = RunConfig(
        **dict(id="benchmark", backend="torch", task="none", task_options={}, seed=0, model_revision=""),
        **dict(data_revision="", method={"name": name, "label": name}, model=ModelSource(name="none")),
        **dict(budget={"steps": 1}, batch={}, data={}, precision="fp32", threads=1, activation_checkpointing=False),
        **dict(optimizer={}, schedule={}, loss={}, validation={}, generation={}, checkpoint={}),
    )
    method = METHODS[name]
    return TorchSession(method.attach(model, seed=0), method, run, NoTokenizer(), [])


def batches(seed: int) -> list[Batch]:
    generator = np.random.default_rng(seed)
    rows = [
        TokenRow(number, generator.integers(2, VOCABULARY, LENGTH).astype(np.int32), np.ones(LENGTH, dtype=bool))
        for number in range(MICRO_BATCHES * ROWS)
    ]
    return [Batch(tuple(rows[start : start + ROWS])) for start in range(0, len(rows), ROWS)]


def gradients(one: TorchSession, seed: int) -> None:
    parts = batches(seed)
    for part in parts:
        one.accumulate(part, denominator=sum(p.num_supervised for p in parts), last=part is parts[-1])


def step(one: TorchSession, seed: int) -> tuple[float, float]:
    """Wall and processor seconds of one step."""
    wall, cpu = time.perf_counter(), time.process_time()
    gradients(one, seed)
    one.gradient_norm()
    one.update(learning_rate=1e-4, max_norm=1.0)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_time(pairs: int) -> None:
    sessions = {name: session(name, llama()) for name in TIMED}
    first = {name: step(one, 0) for name, one in sessions.items()}  # the cold refresh, and allocation
    times = {name: [] for name in TIMED}
    refreshes = []
    for number in range(1, pairs + 1):
        for name, one in sessions.items():
            times[name].append(step(one, number))
        for target in sessions["galore"].updater.targets.values():
            target.refreshed_at = -1  # due again
        refreshes.append(step(sessions["galore"], number))
    clocks = []
    for clock in range(2):
        full, galore, due = (
            statistics.median(value[clock] for value in values)
            for values in (times["full"], times["galore"], refreshes)
        )
        amortised = galore + (due - galore) / GAP
        clocks.append({"full": full, "galore": galore, "with refresh": due, "amortised": amortised})
        clocks[-1]["ratio"] = amortised / full
    pairwise = [g[0] / f[0] for g, f in zip(times["galore"], times["full"], strict=True)]
    cold = {name: value[0] for name, value in first.items()}
    print(json.dumps({"wall": clocks[0], "cpu": clocks[1], "ratios": sorted(pairwise), "first": cold}, indent=1))


def measure_memory(name: str) -> None:
    meter = Meter(ResidentMemory())
    before = meter.memory.current_gib()
    model = llama()
    one = session(name, model)
    with meter.phase("train"):
        for number in range(3):
            step(one, number)
    peak = meter.costs()["train"].peak_gib
    gradients(one, 9)  # LISA's fourth step, the second with the same blocks
    gc.collect()
    live, formula = live_bytes(), formula_bytes(model, name)
    print(
        json.dumps(
            {
                "method": name,
                "parameters": sum(p.numel() for p in model.parameters()),
                "before_mib": before * 1024,
                "peak_mib": peak * 1024,
                "live_mib": live / MIB,
                "formula_mib": formula / MIB,
                "peak_method": meter.memory.method,
                "maxrss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def live_bytes() -> int:
    """Bytes of all storages that a Python tensor, or a parameter's gradient, holds."""
    tensors = [value for value in gc.get_objects() if type(value) in (torch.Tensor, torch.nn.Parameter)]
    tensors += [value.grad for value in tensors if value.is_leaf and value.grad is not None]
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
    return sum(storages.values())


def formula_bytes(model, name: str) -> int:
    """fp32 weights, gradients (projected ones for matrices) and AdamW's states, as METHODS' memory model; for LISA
    gradients and states of what trains."""
    matrices = [tuple(m.weight.shape) for n, m in model.named_modules() if n.endswith("_proj")]
    total = sum(parameter.numel() for parameter in model.parameters())
    if name == "full":
        return 16 * total
    if name == "lisa":
        inside = sum(parameter.numel() for block in blocks(model).values() for parameter in block.parameters())
        return 4 * total + 12 * (total - inside + METHODS[name].layers * inside // len(blocks(model)))
    rest = total - sum(o * i for o, i in matrices)
    low = sum(max(shape) * RANK for shape in matrices)
    bases = sum(min(shape) * RANK for shape in matrices)
    return 4 * total + (4 + 8) * rest + 4 * low + 4 * (2 * low + bases)


def trained_gradients(model, rows: list[TokenRow], names: list[str], steps: tuple[int, ...]) -> list[dict]:
    """Full gradients of the named matrices at these steps of AdamW training (4 rows a step)."""
    one, kept = session("full", model), []
    for number in range(max(steps) + 1):
        start = 4 * number % (len(rows) - 4)
        batch = Batch(tuple(rows[start : start + 4]))
        one.accumulate(batch, denominator=batch.num_supervised, last=True)
        if number in steps:
            kept.append({name: model.get_submodule(name).weight.grad.clone() for name in names})
        one.update(learning_rate=1e-3, max_norm=1.0)
    return kept


def text_rows(tokenizer, texts: list[str]) -> list[TokenRow]:
    encoded = [np.array(tokenizer.encode(text)[:LENGTH], dtype=np.int32) for text in texts]
    return [TokenRow(n, ids, np.ones(len(ids), dtype=bool)) for n, ids in enumerate(encoded) if len(ids) > 4]


def refresh_table(label: str, kept: list[dict], rank: int) -> None:
    """Cold on the first gradient, then warm on each later one, against the exact SVD of the same gradient."""
    for name in kept[0]:
        projector = Projector(tuple(kept[0][name].shape), rank=rank, kind="subspace", side="std", name=name, seed=0)
        for number, found in enumerate(kept):
            gradient = found[name]
            ours = min(timed(projector._leading, gradient) for _ in range(10))
            svd = min(timed(torch.linalg.svd, gradient) for _ in range(2))
            projector.refresh(gradient)
            left, values, right = torch.linalg.svd(gradient, full_matrices=False)
            exact = right[:rank].t() if projector.sides == ("right",) else left[:, :rank]
            shared = overlap(projector.bases[projector.sides[0]], exact)
            energy = float(projector.project(gradient).norm() / values[:rank].norm()) ** 2
            print(
                f"| {label} {name} {tuple(gradient.shape)} | {rank} | {'cold' if number == 0 else 'warm'} "
                f"| {ours[0]:.0f} ({ours[1]:.0f}) | {svd[0]:.0f} ({svd[1]:.0f}) "
                f"| {svd[0] / ours[0]:.1f} ({svd[1] / ours[1]:.1f}) "
                f"| {shared:.3f} | {energy:.4f} | {float(values[rank - 1] / values[0]):.1e} |",
                flush=True,
            )


def timed(function, *args) -> tuple[float, float]:
    """Processor and wall milliseconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    function(*args)
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def measure_refresh(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])
    stories = (shared / "data" / "tinystories" / "tinystories.txt").read_text(encoding="utf-8")
    texts = [stories[start : start + 600] for start in range(0, 240_000, 600)]
    wide = llama(1024, 2816, 2, len(tokenizer))
    names = ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.o_proj"]
    refresh_table("1024 wide", trained_gradients(wide, text_rows(tokenizer, texts), names, (10, 11, 20)), RANK)
    folder = shared / "data" / "tiny_models" / "stories260K_hf"
    tokenizer, small = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    names = ["model.layers.2.self_attn.q_proj", "model.layers.2.mlp.down_proj"]
    refresh_table("stories260K", trained_gradients(small, text_rows(tokenizer, texts), names, (10, 11, 20)), 16)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--part", choices=["time", *MEMORY, "refresh"])
    given = parser.parse_args()
    if given.part is None:
        for part in (*MEMORY, "refresh", "time"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)
        return
    torch.set_num_threads(given.threads)
    if medium_is_exact():
        torch.set_float32_matmul_precision("medium")
    if given.part == "time":
        measure_time(given.pairs)
    elif given.part == "refresh":
        measure_refresh(given.shared)
    else:
        measure_memory(given.part.partition(":")[2])


if __name__ == "__main__":
    main()
