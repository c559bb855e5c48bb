"""Parts of scripts/gpu_check.py that are timed: LoRA on random weights of a 1 B and a 3 B shape, against HF's Trainer.

The same weights, rows and examples a step; bf16; micro-batches of the same rows; the first two steps are not timed. The
model FLOPs of a token are 4 N + 6 n + 6 T H L: N weights of linear layers and head, each multiplied forward and for the
gradient of its input, n trained ones also for their own gradient, causal attention forward once and backward twice.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_parts import NotCovered, has, matmul_peak, place, synchronised

RANK, ALPHA, RATE, WARM = 16, 32, 1e-4, 2
LOSSES_AGREE = 2e-2


class Shape(NamedTuple):
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    length: int
    """Tokens of a row."""
    examples: int
    """Of a step, one micro-batch."""
    steps: int


SHAPES = {
    "1b": Shape(2048, 8192, 16, 32, 8, 128_256, 2048, 8, 8),
    "3b": Shape(3072, 8192, 28, 24, 8, 128_256, 2048, 8, 6),
    "tiny": Shape(64, 128, 2, 4, 2, 512, 32, 4, 4),
}


def config_of(shape: Shape) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.length,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )


def model_of(shape: Shape, given: Any) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(place(given)):
        return AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.bfloat16)


def rows_of(shape: Shape) -> np.ndarray:
    """(steps x examples, length), int64"""
    draw = np.random.default_rng(0)
    return draw.integers(2, shape.vocabulary, (shape.steps * shape.examples, shape.length), dtype=np.int64)


def model_flops(model: Any, shape: Shape) -> float:
    """Of a token."""
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    head, weights = model.get_output_embeddings().weight, 0
    for name, value in model.named_parameters():
        if value.ndim >= 2 and not value.requires_grad and "embed" not in name and value is not head:
            weights += value.numel()
    weights += head.numel()
    return 4 * weights + 6 * trained + 6 * shape.length * shape.hidden * shape.layers


def ours(shape: Shape, given: Any) -> tuple[Any, Iterator[tuple[float, float]]]:
    import tiny
    from tunelab.backends.torch.session import TorchSession
    from tunelab.backends.torch.storage import set_storage
    from tunelab.data.tokens.batching import micro_batches
    from tunelab.records import TokenRow
    from tunelab.study.executing.verified import verified_rows
    from tunelab.study.planning.plan import build_method

    method = build_method("lora", {"rank": RANK, "alpha": ALPHA, "learning_rate": RATE})
    batch = {"examples": shape.examples, "max_tokens": shape.examples * shape.length}
    run = tiny.run_config(precision="bf16", batch=batch)
    attached = method.attach(model_of(shape, given), seed=0)
    set_storage(attached, precision="bf16")
    session = TorchSession(attached, method, run, tiny.Tokenizer(), [])
    supervised = np.ones(shape.length, dtype=bool)
    supervised[0] = False
    rows = [TokenRow(number, ids.astype(np.int32), supervised) for number, ids in enumerate(rows_of(shape))]
    session.verify(verified_rows(rows[: shape.examples]))
    if not session.plain_head:
        raise RuntimeError(f"the fast path was not taken: {session.notes}")

    def steps() -> Iterator[tuple[float, float]]:
        for number in range(shape.steps):
            began = synchronised(given)
            chosen = rows[number * shape.examples :][: shape.examples]
            batches = micro_batches(chosen, max_tokens=run.batch.max_tokens, padded=session.pads)
            count = sum(each.num_supervised for each in batches)
            loss = session.accumulate_shares([batches], denominator=count, key=(0, number))
            session.gradient_norm()
            session.update(learning_rate=RATE, max_norm=1.0)
            yield synchronised(given) - began, float(loss) / count

    return attached, steps()


def hugging_face(shape: Shape, given: Any, *, liger: bool) -> tuple[Any, Iterator[tuple[float, float]]]:
    """transformers' Trainer over PEFT, as their documentation shows it."""
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer, TrainerCallback, TrainingArguments

    if liger and not (has("liger_kernel") and has("triton")):
        raise NotCovered("liger-kernel or triton is missing")
    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model_of(shape, given), adapter)
    rows = [{"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(ids)} for ids in rows_of(shape)]
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *given_, **options) -> None:
            if not ends:
                ends.append(synchronised(given))

        def on_step_end(self, *given_, **options) -> None:
            ends.append(synchronised(given))

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=shape.steps, per_device_train_batch_size=shape.examples, bf16=True,
            learning_rate=RATE, logging_steps=1, report_to="none", save_strategy="no", remove_unused_columns=False,
            use_cpu=given.tiny, use_liger_kernel=liger, max_grad_norm=1.0, disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()])
        trainer._get_train_sampler = lambda *given_: None  # the rows in their order
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return model, zip(np.diff(ends).tolist(), losses, strict=True)


def speed(given: Any, name: str, system: str) -> dict[str, Any]:
    shape = SHAPES["tiny" if given.tiny else name]
    if not given.tiny:
        torch.cuda.reset_peak_memory_stats()
    if system == "ours":
        model, steps = ours(shape, given)
        if not given.tiny:
            torch.cuda.reset_peak_memory_stats()  # the check of the fast path held all logits
    else:
        model, steps = hugging_face(shape, given, liger=system == "liger")
    timed = list(steps)
    seconds = statistics.median(each for each, _ in timed[WARM:])
    rate = shape.examples * shape.length / seconds
    memory = {} if given.tiny else {
        "peak GiB": torch.cuda.max_memory_allocated() / 2**30,
        "reserved GiB": torch.cuda.max_memory_reserved() / 2**30,
    }  # fmt: skip
    peak = matmul_peak(given)
    return {
        "tokens/s": rate,
        "MFU %": 100 * rate * model_flops(model, shape) / peak,
        **memory,
        "first loss": timed[0][1],
        "step s": seconds,
    }


def against(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Ours beside each peer: speed, memory, and whether both computed the same."""
    said = {}
    for name in ("1b", "3b"):
        own = found.get(f"{name} ours", {})
        for system in ("hf", "liger"):
            other = found.get(f"{name} {system}", {})
            if own.get("state") == other.get("state") == "ok":
                words = f"{own['tokens/s'] / other['tokens/s']:.2f} x the speed"
                if "peak GiB" in own:
                    words += f", {own['peak GiB'] / other['peak GiB']:.2f} x the memory"
                apart = abs(own["first loss"] / other["first loss"] - 1)
                words += "" if apart <= LOSSES_AGREE else f"; FIRST LOSSES DIFFER by {apart:.1e}: not the same work"
                said[f"{name} against {system}"] = words
    return said


PARTS = {
    f"{name} {system}": (functools.partial(speed, name=name, system=system), limit, False)
    for name, limit in (("1b", 35.0), ("3b", 45.0))
    for system in ("ours", "hf", "liger")
}
