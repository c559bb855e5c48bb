"""Step time of RoSA (rank 12, density 0.006) against LoRA (rank 16), and of RoSA's mask phase.

    python benchmarks/rosa_step.py [--precision fp32|bf16] [--rounds 9] [--profile]

One LLaMA-like model of 23 million random weights, all linear layers adapted, 8 rows of 128 tokens a step. Both methods
train in one process; a round is one step of each, and the order of the two alternates, so that other load on the
machine meets both. Ratios are medians over rounds, of wall time and of the process's processor time. A step is the
loop's own: forward, backward, clip, AdamW. Prepare is two warm-up steps and the mask of eight examples.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from types import SimpleNamespace

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import set_storage
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.methods.lora import Lora
from tunelab.methods.rosa import Rosa
from tunelab.records import TokenRow
from tunelab.training.loop import run_order, take_step

ROWS, TOKENS, VOCABULARY = 8, 128, 8000
CLOCKS = ("wall", "processor")
METHODS = {
    "lora r=16": Lora(rank=16),
    "rosa r=12 d=0.006": Rosa(rank=12, density=0.006, warmup_steps=2),
}


def make_run(precision: str) -> RunConfig:
    sections = dict(budget={"steps": 100}, batch={"examples": ROWS, "max_tokens": ROWS * TOKENS}, optimizer={})
    facts = dict(id="bench", backend="torch", task="none", task_options={}, seed=0, method={}, threads=2)
    model = dict(model=ModelSource(name="none"), model_revision="", data_revision="", activation_checkpointing=False)
    rest = dict(schedule={"kind": "constant", "warmup": 0}, loss={}, validation={}, generation={}, checkpoint={})
    return RunConfig.model_validate({**sections, **facts, **model, **rest, "precision": precision})


def make_session(method: Method, run: RunConfig) -> TorchSession:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=512, intermediate_size=1408, num_hidden_layers=6, num_attention_heads=8,
        tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    model = method.attach(LlamaForCausalLM(config), seed=0)
    set_storage(model, precision=run.precision)
    return TorchSession(model, method, run, SimpleNamespace(pad_token_id=0), [])


def make_rows(count: int) -> list[TokenRow]:
    generator = np.random.default_rng(0)
    supervised = np.ones(TOKENS, dtype=bool)
    supervised[0] = False
    return [
        TokenRow(number, generator.integers(1, VOCABULARY, TOKENS).astype(np.int32), supervised)
        for number in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="print what a step of each spends its time on")
    options = parser.parse_args()
    torch.set_num_threads(2)
    run = make_run(options.precision)
    order = run_order(run, make_rows(64))
    sessions = {name: make_session(method, run) for name, method in METHODS.items()}
    for name, session in sessions.items():
        count = session.parameters()
        began = time.perf_counter()
        METHODS[name].prepare(session, order, run)
        seconds = time.perf_counter() - began
        print(f"{name}: {count.trainable:,} of {count.total:,} weights trained, prepare {seconds:.1f} s", flush=True)

    def step(name: str, number: int) -> tuple[float, float]:
        """Wall and processor seconds."""
        wall, cpu = time.perf_counter(), time.process_time()
        take_step(sessions[name], run, order, number, peak=METHODS[name].learning_rate)
        return time.perf_counter() - wall, time.process_time() - cpu

    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for number in range(options.rounds + 2):  # the first two warm allocators and caches up
        names = list(METHODS) if number % 2 else list(METHODS)[::-1]
        taken = {name: step(name, number + 1) for name in names}
        for name in names if number >= 2 else ():
            seconds[name].append(taken[name])
    reference = seconds["lora r=16"]
    print(f"{options.precision}, {options.rounds} rounds, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for clock, (name, times) in itertools.product(range(2), seconds.items()):
        ratios = [one[clock] / other[clock] for one, other in zip(times, reference, strict=True)]
        spread = f"quartiles {np.quantile(ratios, 0.25):.3f}-{np.quantile(ratios, 0.75):.3f}"
        median = statistics.median(one[clock] for one in times)
        print(f"{CLOCKS[clock]}, {name}: median {median:.3f} s, {statistics.median(ratios):.3f} x LoRA ({spread})")
    for name in METHODS if options.profile else ():
        with torch.profiler.profile() as profile:
            step(name, options.rounds + 3)
        print(name)
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=40))


if __name__ == "__main__":
    main()
