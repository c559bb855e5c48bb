"""Parts of scripts/gpu_check.py that say whether something works: the machine, every method, memory, vLLM."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ON_GPU = {"fp32": 2e-3, "bf16": 5e-2, "fp16": 2e-2}
"""Largest difference of a loss from the CPU's, as a share: other kernels, and fp32 on the CPU's side of rounding."""
PEERS = ("bitsandbytes", "liger_kernel", "unsloth", "vllm", "datasets", "triton")


class NotCovered(Exception):
    """A part cannot be tried here, and why."""


def place(given: Any) -> torch.device:
    return torch.device("cpu" if given.tiny else "cuda")


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def synchronised(given: Any) -> float:
    """The time, once the device has done what it was given."""
    if not given.tiny:
        torch.cuda.synchronize()
    return time.perf_counter()


def matmul_peak(given: Any, dtype: torch.dtype = torch.bfloat16) -> float:
    """Measured floating-point operations a second of a square product on random data."""
    size, times = (256, 2) if given.tiny else (8192, 20)
    a, b = (torch.randn(size, size, device=place(given), dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    began = synchronised(given)
    for _ in range(times):
        a @ b
    return 2 * size**3 * times / (synchronised(given) - began)


def machine(given: Any) -> dict[str, Any]:
    import peft
    import transformers

    import tunelab

    if not given.tiny and not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU; --tiny tries everything on the CPU")
    device = "cpu" if given.tiny else torch.cuda.get_device_name()
    return {
        "device": device,
        "matmul TFLOP/s bf16": matmul_peak(given) / 1e12,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "tunelab": getattr(tunelab, "__version__", "checkout"),
        "missing": ", ".join(name for name in PEERS if not has(name)) or "nothing",
    }


def methods(given: Any, kind: str, precision: str) -> dict[str, Any]:
    """Against the CPU, stopped and resumed, texts, export: as tests/pretend_gpu does."""
    from pretend_gpu.examined import MADE_OF_RUNS, Place, every_entry, examine
    from tunelab.backends.torch.backend import TorchHf

    if precision not in (*TorchHf.precisions, *getattr(TorchHf, "more_precisions", ())):
        raise NotCovered(f"precision: {precision} is not one of {', '.join(TorchHf.precisions)}")
    names = [name for name in every_entry() if kind == "llama" or name not in MADE_OF_RUNS]
    if given.tiny:
        names = ["lora"]
    elif not has("bitsandbytes"):
        left = [
            name for name in names if "qlora" in name or "nf4" in name or "8-bit" in name or name.startswith("q_galore")
        ]
        names = [name for name in names if name not in left]
    there = Place(place(given), lambda value: value.device.type == place(given).type, lambda: 0, ON_GPU, exact=False)
    lines: list[str] = []

    def told(line: str) -> None:
        """What is known if this is ended early."""
        lines.append(line)
        print(line, flush=True)
        said = f"ended after {len(lines)} of {len(names)} methods; the last one: {line}"
        (given.out / f"{kind} {precision}.json").write_text(json.dumps({"state": "failed", "said": said}))

    with tempfile.TemporaryDirectory() as folder:
        found = examine(Path(folder), kind, precision, names, there=there, told=told)
    wrong = {name: said for name, said in found.items() if said}
    if wrong:
        name, said = next(iter(wrong.items()))
        raise RuntimeError(f"{len(wrong)} of {len(found)} methods ({', '.join(wrong)}); {name}: {said[0]}")
    return {"methods": len(found), "bitsandbytes": "there" if has("bitsandbytes") else "missing: 4 and 8 bits left out"}


def load_4_bit(given: Any) -> dict[str, Any]:
    """The most that loading a model for QLoRA takes on the device, beside what is held at the end."""
    from gpu_speed import SHAPES, config_of
    from transformers import AutoModelForCausalLM

    from tunelab.config.schema import ModelSource
    from tunelab.models.streamed import hold_in_nf4, load_quantised
    from tunelab.records import Located

    if not has("bitsandbytes"):
        raise NotCovered("bitsandbytes is missing")
    shape = SHAPES["tiny" if given.tiny else "1b"]
    folder = Path(tempfile.mkdtemp())
    try:
        with torch.device(place(given)):
            model = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.bfloat16)
        on_disk = sum(value.numel() * value.dtype.itemsize for value in model.parameters())
        model.save_pretrained(folder, max_shard_size="500MB")
        del model
        if not given.tiny:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        began, notes = time.perf_counter(), []
        source = ModelSource(name=str(folder))
        located = Located(folder, "")
        streamed = load_quantised(source, located, hold=hold_in_nf4, place=place(given), note=notes.append)
        seconds = synchronised(given) - began
        if streamed is None:
            raise RuntimeError(f"read as a whole: {notes}")
        tensors = {id(value): value for value in (*streamed.parameters(), *streamed.buffers())}
        held = sum(value.numel() * value.dtype.itemsize for value in tensors.values())
        peak = held if given.tiny else torch.cuda.max_memory_allocated()
        return {"float MiB": on_disk / 2**20, "held MiB": held / 2**20, "peak MiB": peak / 2**20, "load s": seconds}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def out_of_memory(given: Any) -> dict[str, Any]:
    """A step whose micro-batch does not fit is repeated with smaller ones, and so is generation."""
    if given.tiny:
        raise NotCovered("a CPU's memory is not filled on purpose")
    from pretend_gpu.examined import runs_of

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = _large_study(folder)
        ((run, run_folder),) = runs_of(study, folder / "out")
        torch.cuda.set_per_process_memory_fraction(2 * 2**30 / torch.cuda.get_device_properties(0).total_memory)
        errors = failures(run, run_folder)
        if errors:
            if "memory" in errors[0].lower():
                raise NotCovered(f"a step that does not fit ends the run: {errors[0][:120]}")
            raise RuntimeError(errors[0])
        result = run_folder.read_result()
        notes = [] if result is None else [note for note in result.notes if "memory" in note or "fit" in note]
        if not notes:
            raise RuntimeError("2 GiB were enough for all of it: nothing was tried")
        return {"said": "; ".join(notes)}


def failures(run: Any, folder: Any) -> list[str]:
    """Execute the run here; why it failed."""
    from tunelab.launch.worker import work

    folder.ensure_run(run)
    errors: list[str] = []
    work(folder, lambda event: errors.append(event["error"]) if event["event"] == "failed" else None)
    return errors


def _large_study(folder: Path) -> Path:
    """Micro-batches of 131,072 tokens on 2 GiB."""
    import yaml

    import tiny

    changes = dict(hidden_size=512, intermediate_size=2048, num_attention_heads=8, num_key_value_heads=8)
    tiny.model_folder(folder / "llama", "llama", num_hidden_layers=8, max_position_embeddings=1024, **changes)
    rows = [{"q": f"row {number}", "a": "so it is and so it stays " * 60} for number in range(256)]
    for split in ("train", "test"):
        chosen = rows if split == "train" else rows[:2]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    texts = {"train": "train.jsonl", "test": "test.jsonl", "prompt": "{q}", "target": "{a}", "metrics": ["loss"]}
    study = {
        "name": "large", "model": "llama", "tasks": [{"name": "rows", **texts}], "methods": [{"lora": {"rank": 8}}],
        "seeds": [0], "budget": {"steps": 2}, "batch": {"examples": 256, "max_tokens": 131_072, "max_length": 512},
        "precision": "bf16", "threads": 4,
    }  # fmt: skip
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


def vllm(given: Any) -> dict[str, Any]:
    """A run whose texts vLLM makes, against our own decoding."""
    if not has("vllm"):
        raise NotCovered("vllm is not installed")
    import yaml

    from pretend_gpu.examined import runs_of, write_study

    texts = []
    with tempfile.TemporaryDirectory() as name:
        for engine in ("torch", "vllm"):
            study = write_study(Path(name) / engine, "llama", [{"full": {}}], precision="fp32")
            if engine == "vllm":
                facts = {**yaml.safe_load(study.read_text()), "evaluation": {"engine": "vllm"}}
                study.write_text(yaml.safe_dump(facts))
            ((run, folder),) = runs_of(study, study.parent / "out")
            if errors := failures(run, folder):
                raise RuntimeError(errors[0])
            texts.append([one.prediction for one in folder.read_predictions()])
    equal = sum(one == other for one, other in zip(*texts, strict=True))
    return {"equal texts": f"{equal} of {len(texts[0])}"}


PARTS = {
    **{
        f"{kind} {precision}": functools.partial(methods, kind=kind, precision=precision)
        for kind, precision in (("llama", "bf16"), ("llama", "fp32"), ("llama", "fp16"), ("t5", "bf16"), ("t5", "fp32"))
    },
    "load in 4 bits": load_4_bit,
    "out of memory": out_of_memory,
    "vllm": vllm,
}
