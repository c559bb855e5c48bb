"""What both sides read, written once: the model, its rows in the order of the steps, the start of the adapters.

In the folder: model/ (random weights of seed 0, fp32), rows as files of a study, steps.jsonl with every step's rows as
token ids as tunelab's own `prepare` and order give them, adapter/ in PEFT's format with the A that tunelab draws.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from side_by_side.rows import are_real, first_rows, said, write_tokenizer
from side_by_side.workloads import Mode, Shape, Workload

PRECISION = {"fp32": "fp32", "bf16": "bf16", "shipped": "auto"}


def model_folder(folder: Path, workload: Workload, *, real: bool) -> Path:
    sizes = "-".join(str(value) for value in workload.shape.sizes.values())
    return folder / f"model-{workload.shape.type}-{'real' if real else 'generated'}-{sizes}".replace(".", "_")


def work_folder(folder: Path, workload: Workload, steps: int) -> Path:
    size = workload.shape.sizes.get("vocab_size", workload.rows.examples)
    return folder / f"{workload.name}-{size}-{steps}"


def prepare(folder: Path, workload: Workload, *, steps: int, real: bool | None = None) -> dict[str, Any]:
    """Write what is missing; returns what is known of it, which is about.json of its folder."""
    place = work_folder(folder, workload, steps)
    if (place / "about.json").exists():
        return json.loads((place / "about.json").read_text())
    place.mkdir(parents=True, exist_ok=True)
    if workload.peer == "generate":
        from side_by_side import generation

        about = generation.prepare(place, workload)
        (place / "about.json").write_text(json.dumps(about))
        return about
    real = are_real(workload.rows) if real is None else real
    model = model_folder(folder, workload, real=real)
    parameters = write_model(model, workload.shape, real=real)
    _write_rows(place, workload, steps=steps, real=real)
    (place / "method.json").write_text(json.dumps(workload.ours))
    _write_steps(place, workload, model, steps=steps)
    about = {"model": str(model), "parameters": parameters, "rows": said(workload.rows, real=real)}
    (place / "about.json").write_text(json.dumps(about))
    return about


def write_model(folder: Path, shape: Shape, *, real: bool) -> int:
    """Random weights of seed 0 with a tokenizer; returns how many there are."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    if not (folder / "about.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tokenizer(folder, shape, real=real)
        text = AutoTokenizer.from_pretrained(folder)
        ends = {"pad_token_id": text.pad_token_id, "eos_token_id": text.eos_token_id, "bos_token_id": text.bos_token_id}
        config = AutoConfig.for_model(shape.type, **shape.sizes, **ends)
        automatic = AutoModelForCausalLM
        if config.is_encoder_decoder:
            config.decoder_start_token_id, automatic = text.pad_token_id, AutoModelForSeq2SeqLM
        torch.manual_seed(0)
        model = automatic.from_config(config, dtype=torch.float32)
        model.save_pretrained(folder)
        count = sum(parameter.numel() for parameter in model.parameters())
        (folder / "about.json").write_text(json.dumps({"parameters": count}))
    return json.loads((folder / "about.json").read_text())["parameters"]


def _write_rows(place: Path, workload: Workload, *, steps: int, real: bool) -> None:
    """Exactly as many as the steps take, and two more that validate and test."""
    count = workload.rows.count(steps)
    rows = first_rows(workload.rows, count + 2, real=real, vocabulary=workload.shape.sizes["vocab_size"])
    for name, part in {"train": rows[:count], "validation": rows[count:-1], "test": rows[-1:]}.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def study(
    place: Path, workload: Workload, model: Path, *, method: dict[str, Any], mode: Mode, steps: int, threads: int
) -> Path:
    """The study file of our side. All but what makes the work the same is left at its default."""
    (name,) = method
    columns = ["text"] if workload.rows.source == "stories" else ["prompt", "target"]
    files = {part: str(place / f"{part}.jsonl") for part in ("train", "validation", "test")}
    task = {"name": "rows", **files, **{column: f"{{{column}}}" for column in columns}, "metrics": ["loss"]}
    content = {
        "name": f"{workload.name.lower()}-{mode}-{name}",
        "model": str(model),
        "tasks": [task],
        "methods": [{name: {**method[name], "learning_rate": workload.learning_rate}}],
        "seeds": [0],
        "budget": {"steps": steps},
        "batch": {"examples": workload.rows.examples, "max_length": workload.rows.max_length},
        "data": {"overlap": "ignore"},
        "precision": PRECISION[mode],
        "threads": threads,
        "schedule": {"kind": "constant", "warmup": 0},
        "validation": {"every": 1000},
        "checkpoint": {"seconds": 100000},
        "optimizer": workload.optimizer,
    }
    file = place / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def planned_run(study_file: Path, out: Path) -> Any:
    """The study's run as `tunelab run` plans it, its folder made; returns run, parts and folder."""
    from tunelab.config.read import read_study
    from tunelab.launch.run import settle
    from tunelab.study.planning.plan import make_plan, parts
    from tunelab.study.planning.run_config import method_run
    from tunelab.study.store import Store

    store = Store(out)
    plan, revisions = settle(make_plan(read_study(study_file)), store)
    (method,) = plan.methods
    run = method_run(plan, plan.tasks[0], "torch", revisions, method=method, seed=0, candidate=method.candidates[0])
    folder = store.run(run.id)
    folder.ensure_run(run)
    return run, parts(run), folder


def _write_steps(place: Path, workload: Workload, model: Path, *, steps: int) -> None:
    """The rows of every step as ids, and the adapter that training begins with where there is one."""
    order = _order(place, workload, model, steps=steps)
    if workload.grouped:
        _group(place, order, examples=workload.rows.examples)
        order = _order(place, workload, model, steps=steps)
    with (place / "steps.jsonl").open("w") as out:
        for number in range(1, order.num_steps + 1):
            out.write(json.dumps([_row(row) for row in order.step(number)]) + "\n")
    if workload.method in ("lora", "qlora"):
        _write_adapter(place, workload, model, steps=steps)


def _opened(place: Path, workload: Workload, model: Path, *, steps: int) -> Any:
    """Our run as it is planned: its configuration, its parts, where its model lies, and what text needs."""
    file = study(place, workload, model, method=workload.ours, mode="fp32", steps=steps, threads=1)
    run, made_of, _ = planned_run(file, Path(tempfile.mkdtemp(dir=place)))
    located = made_of.backend.locate(run.model)
    return run, made_of, located, made_of.backend.text(run.model, located)


def _order(place: Path, workload: Workload, model: Path, *, steps: int) -> Any:
    """The steps that a run of tunelab takes, by its own reading of the rows."""
    from tunelab.study.executing.prepare import prepare as prepare_rows
    from tunelab.training.step import run_order

    run, made_of, _, text = _opened(place, workload, model, steps=steps)
    return run_order(run, prepare_rows(made_of.task, text, run, training=True).train)


def _group(place: Path, order: Any, *, examples: int) -> None:
    """Change the places of the rows in their file, so that the run's steps become those that Trainer's group_by_length
    would have made of them."""
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    taken = [row for number in range(1, order.num_steps + 1) for row in order.step(number)]
    generator = torch.Generator().manual_seed(0)
    lengths = [row.num_tokens for row in taken]
    wanted = get_length_grouped_indices(lengths, examples, mega_batch_mult=50, generator=generator)  # of long trainings
    lines = (place / "train.jsonl").read_text().splitlines()
    changed = list(lines)
    for row, other in zip(taken, wanted, strict=True):
        changed[row.example] = lines[taken[other].example]
    (place / "train.jsonl").write_text("\n".join(changed) + "\n")


def _write_adapter(place: Path, workload: Workload, model: Path, *, steps: int) -> None:
    run, made_of, located, text = _opened(place, workload, model, steps=steps)
    (place / "adapter").mkdir(exist_ok=True)
    session = made_of.backend.session(run, made_of.method, located=located, text=text, notes=[])
    session.write_model(place / "adapter")


def _row(row: Any) -> dict[str, Any]:
    """For a collator: labels of -100 where nothing is learned."""
    labels = [int(token) if learned else -100 for token, learned in zip(row.ids, row.supervised, strict=True)]
    if row.source is not None:
        return {"input_ids": row.source.tolist(), "labels": labels}
    packed = {"starts": list(row.starts)} if row.starts else {}
    return {"input_ids": row.ids.tolist(), "labels": labels, **packed}


def read_steps(place: Path) -> list[list[dict[str, Any]]]:
    return [json.loads(line) for line in (place / "steps.jsonl").read_text().splitlines()]


def same_products() -> None:
    """The setting of fp32 products that tunelab takes on this processor."""
    import torch

    from tunelab.backends.torch.products import medium_is_exact

    if medium_is_exact():
        torch.set_float32_matmul_precision("medium")
