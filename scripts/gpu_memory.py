"""Part of scripts/gpu_check.py: predicted peaks of training beside what torch's allocator gave out, method by method.

Random weights of a 1 B shape, two steps of one micro-batch, bf16. Both sides begin with the model as its method holds
it; the CUDA context is on neither.
"""

from __future__ import annotations

import gc
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from gpu_parts import has, place

METHODS: tuple[dict[str, Any], ...] = ({"lora": {"rank": 16}}, {"dora": {"rank": 16}}, {"qlora": {"rank": 16}},
                                       {"galore": {"rank": 32}}, {"full": {}})  # fmt: skip
NEEDS = {"qlora": "bitsandbytes"}
ROWS = 4
"""Of the micro-batch: enough that activations count, and full fine-tuning stays below 40 GB."""


def planned(folder: Path, shape: Any) -> list[Any]:
    """A run a method, of a folder that holds a configuration alone."""
    from gpu_speed import config_of

    import tunelab
    from tunelab.study.planning.planned import Revisions
    from tunelab.study.planning.run_config import method_run

    (folder / "config.json").write_text(json.dumps(config_of(shape).to_dict(), default=str))
    chosen = [each for each in METHODS if all(name not in NEEDS or has(NEEDS[name]) for name in each)]
    plan = tunelab.load_study(
        {"model": str(folder), "tasks": [{"name": "restaurants", "metrics": ["loss"]}], "methods": chosen,
         "precision": "bf16", "batch": {"max_tokens": ROWS * shape.length, "max_length": shape.length}, "threads": 4}
    )  # fmt: skip
    revisions = Revisions(precision="bf16", max_tokens=ROWS * shape.length)
    return [
        method_run(plan, plan.tasks[0], "torch", revisions, method=each, seed=0, candidate=each.candidates[0])
        for each in plan.methods
    ]


def trained(run: Any, method: Any, given: Any, rows: list[tuple[int, int, int]]) -> int | None:
    """Bytes at the highest of two steps. None: not on a GPU."""
    from gpu_speed import SHAPES, config_of
    from transformers import AutoModelForCausalLM

    from tunelab.backends.torch.foresight.forecasting import batch_of
    from tunelab.backends.torch.foresight.network import NoText
    from tunelab.backends.torch.session import TorchSession
    from tunelab.backends.torch.storage import set_storage

    torch.manual_seed(0)
    with torch.device(place(given)):
        model = AutoModelForCausalLM.from_config(config_of(SHAPES["tiny" if given.tiny else "1b"]), dtype=torch.float32)
        model = method.attach(model, seed=0)
    set_storage(model, precision=run.precision, weights=run.weights)
    session = TorchSession(model, method, run, NoText(), [])
    session.one_row, session.faster, session.fast, session.plain_head = False, None, True, True
    batch = batch_of(rows)
    gc.collect()
    if not given.tiny:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        session.accumulate(batch, denominator=float(batch.num_supervised), last=True)
        session.gradient_norm()
        session.update(learning_rate=1e-4, max_norm=1.0)
    return None if given.tiny else torch.cuda.max_memory_allocated()


def predicted_memory(given: Any) -> dict[str, Any]:
    """'lora MiB predicted / measured' by method."""
    from gpu_speed import SHAPES

    from tunelab.backends.torch.foresight.forecasting import forecast
    from tunelab.study.planning.plan import method_of

    shape = SHAPES["tiny" if given.tiny else "1b"]
    rows = [(shape.length, shape.length - 1, 0)] * ROWS
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in planned(Path(folder), shape):
            method, label = method_of(run.method), run.method["label"]
            told = forecast(run, method, rows, on_gpu=True)
            if told is None:
                raise RuntimeError(f"{label}: nothing is predicted")
            ours, theirs = told.total("train"), trained(run, method, given, rows)
            beside = "not measured" if theirs is None else f"{theirs / 2**20:,.0f}, {ours / theirs - 1:+.0%}"
            found[label] = f"{ours / 2**20:,.0f} MiB / {beside}"
            gc.collect()
    return found


PARTS = {"predicted memory": (predicted_memory, 100.0, False)}
"""Alone: others would lie in its memory."""
