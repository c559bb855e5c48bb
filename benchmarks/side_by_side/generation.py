"""W7: all texts of an evaluation, by tunelab's session and by transformers' `generate` in the prompts' order.

The model is the embedded `tunelab/tiny` and not one of random weights, whose texts would have no end: when texts end
is half of what there is to gain. Its prompts are the records of the task `restaurants`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from side_by_side.measure import Clock, give_back, held_weights_mib, summary, warm_libraries
from side_by_side.prepare import PRECISION, same_products
from side_by_side.workloads import Mode, Workload

MODEL = "tunelab/tiny"
BATCH = 16
WARM_UP = 32
"""Prompts that are answered before the clock runs."""


def prepare(place: Path, workload: Workload) -> dict[str, Any]:
    """Prompts as token ids, what ends a text, and the settings of generation."""
    from tunelab.models.generation_file import end_tokens

    run, parts = _base_run(place, workload, mode="fp32", threads=1)
    located = parts.backend.locate(run.model)
    text = parts.backend.text(run.model, located)
    prompts = _prompts(run, parts, text, workload)
    session = parts.backend.session(run, None, located=located, text=text, notes=[])
    content = {
        "model": str(located.folder),
        "prompts": [prompt.tolist() for prompt in prompts],
        "ends": list(end_tokens(session.model, text.tokenizer)),
        "pad": text.tokenizer.pad_token_id,
        "max_new_tokens": run.generation.max_new_tokens,
        "parameters": session.parameters().total,
    }
    (place / "prompts.json").write_text(json.dumps(content))
    rows = f"{len(prompts)} prompts of the task restaurants, at most {content['max_new_tokens']} new tokens"
    return {"model": MODEL, "parameters": content["parameters"], "rows": rows}


def _base_run(place: Path, workload: Workload, *, mode: Mode, threads: int) -> Any:
    """The run of the untouched model, as `tunelab run` plans it."""
    from tunelab.config.read import read_study
    from tunelab.launch.run import settle
    from tunelab.study.planning.plan import make_plan, parts
    from tunelab.study.planning.run_config import base_run
    from tunelab.study.store import Store

    task = {"name": "restaurants", "train_rows": 16, "test_rows": 3 * workload.rows.examples + 30}
    content = {
        "model": MODEL,
        "tasks": [task],
        "methods": ["full"],
        "precision": PRECISION[mode],
        "threads": threads,
    }
    file = place / f"generation-{mode}.yaml"
    file.write_text(yaml.safe_dump(content))
    plan, revisions = settle(make_plan(read_study(file)), Store(place / "planned"))
    run = base_run(plan, plan.tasks[0], "torch", revisions)
    return run, parts(run)


def _prompts(run: Any, parts: Any, text: Any, workload: Workload) -> list[np.ndarray]:
    from tunelab.study.executing.prepare import prepare as prepare_rows

    prompts = prepare_rows(parts.task, text, run, training=False).test_prompts[: workload.rows.examples]
    assert len(prompts) == workload.rows.examples, f"{len(prompts)} prompts"
    return list(prompts)


def ours(place: Path, workload: Workload, *, mode: Mode, threads: int) -> dict[str, Any]:
    """By the session that an evaluation opens."""
    from tunelab.training.telemetry import ResidentMemory

    run, parts = _base_run(place, workload, mode=mode, threads=threads)
    located = parts.backend.locate(run.model)
    text = parts.backend.text(run.model, located)
    prompts = _prompts(run, parts, text, workload)
    settings = run.generation.model_copy(update={"beams": workload.ours["beams"]})
    warm_libraries(run.precision)
    memory = ResidentMemory()
    give_back()
    before = memory.current_gib()
    notes: list[str] = []
    session = parts.backend.session(run, None, located=located, text=text, notes=notes)
    weights = held_weights_mib()
    loaded = memory.current_gib()

    def texts(some: list[np.ndarray]) -> list[list[int]]:
        return session.generate(some, settings, progress=lambda decoded: None, examples=range(len(some)))

    texts(prompts[:WARM_UP])
    found = _measured(lambda: texts(prompts), memory, place, before_gib=before, loaded_gib=loaded, weights_mib=weights)
    return found | {"precision": run.precision, "notes": notes}


def peer(place: Path, workload: Workload, *, mode: Mode, threads: int) -> dict[str, Any]:
    """`generate` on batches in the prompts' order, padded on the left."""
    import torch
    from transformers import AutoModelForCausalLM

    from tunelab.training.telemetry import ResidentMemory

    torch.set_num_threads(threads)
    if mode != "shipped":
        same_products()
    given = json.loads((place / "prompts.json").read_text())
    precision = "bf16" if mode == "bf16" else "fp32"
    warm_libraries(precision)
    memory = ResidentMemory()
    give_back()
    before = memory.current_gib()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=dtype).eval()
    weights = held_weights_mib()
    loaded = memory.current_gib()

    def texts(prompts: list[list[int]]) -> list[list[int]]:
        found = []
        for begin in range(0, len(prompts), BATCH):
            rows = prompts[begin : begin + BATCH]
            width = max(map(len, rows))
            ids = torch.tensor([[given["pad"]] * (width - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            out = model.generate(
                ids, attention_mask=mask, do_sample=False, num_beams=workload.ours["beams"],
                max_new_tokens=given["max_new_tokens"], eos_token_id=given["ends"], pad_token_id=given["pad"],
            )  # fmt: skip
            found += [_until_end(new, given["ends"]) for new in out[:, width:].tolist()]
        return found

    with torch.no_grad():
        texts(given["prompts"][:WARM_UP])
        found = _measured(
            lambda: texts(given["prompts"]), memory, place, before_gib=before, loaded_gib=loaded, weights_mib=weights
        )
    return found | {"precision": precision}


def _until_end(ids: list[int], ends: list[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


def _measured(work: Any, memory: Any, place: Path, **levels: float) -> dict[str, Any]:
    """Processor seconds and peak of all texts; tokens are those that were read and written."""
    clock = Clock()
    memory.reset()
    clock.mark()
    texts = work()
    clock.mark()
    peak = memory.peak_gib()
    read = sum(map(len, json.loads((place / "prompts.json").read_text())["prompts"]))
    written = sum(map(len, texts))
    step = {"loss": None, "num_tokens": read + written, "num_supervised_tokens": written}
    return summary(clock, [step], warm_up=0, peak_gib=peak, **levels) | {"texts": texts, "losses": []}
