"""Generation for scoring against one prompt at a time and against fixed batches, in one process, one after the other.

    python benchmarks/generation.py [--prompts 500] [--rounds 5] [--single 50] [--threads 1] [--model tunelab/tiny]

The prompts are those of the task `arithmetic`, in its order; the model, fp32, answers each until it ends its text or
has written as many tokens as the task allows. Three ways, interleaved in each round:

- tunelab: the loop of models/decoding.py under the run's default token budget;
- batches: transformers' `generate` on 16 prompts at a time, in the order given, padded on the left;
- single: transformers' `generate` on one prompt at a time, for `--single` prompts spread over all; its seconds are
  those of all prompts by their number.

Printed: wall and processor seconds of each way, and the median over rounds of their ratio within a round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from tunelab.config.schema import BatchSettings, Generation, ModelSource
from tunelab.data.tokens.tokenise import Tokeniser
from tunelab.models.generation_file import end_tokens
from tunelab.models.inference import Prompts, generate
from tunelab.models.limits import GENERATION_BATCH
from tunelab.models.load import load_model, load_text, locate
from tunelab.tasks.arithmetic import Arithmetic

BATCH = 16


class Setting(NamedTuple):
    model: Any
    prompts: list[np.ndarray]
    ends: list[int]
    pad: int
    generation: Generation


def prepare(name: str, count: int) -> Setting:
    source = ModelSource(name=name)
    located = locate(source)
    model, text = load_model(source, located, seed=0).float(), load_text(source, located)
    task = Arithmetic(test_rows=2 * count)
    examples = task.examples("test")[:count]
    assert len(examples) == count, f"{len(examples)} different questions"
    tokeniser = Tokeniser(text.tokenizer, max_length=BatchSettings().max_length, encoder_decoder=False, split="test")
    prompts = list(tokeniser.prompts(examples))
    ends = end_tokens(model, text.tokenizer)
    return Setting(model, prompts, ends, text.tokenizer.pad_token_id, task.generation)


def with_tunelab(setting: Setting) -> list[list[int]]:
    return generate(
        setting.model,
        Prompts(setting.prompts),
        setting.generation,
        ends=setting.ends,
        pad=setting.pad,
        max_tokens=GENERATION_BATCH * BatchSettings().max_tokens,
    )


def with_batches(setting: Setting, prompts: list[np.ndarray], *, size: int) -> list[list[int]]:
    texts = []
    for begin in range(0, len(prompts), size):
        rows = prompts[begin : begin + size]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), setting.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(rows):
            ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, width - len(prompt) :] = 1
        with torch.no_grad():
            out = setting.model.generate(
                ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=setting.generation.max_new_tokens,
                eos_token_id=setting.ends,
                pad_token_id=setting.pad,
            )
        for new in out[:, width:].tolist():
            end = next((place for place, token in enumerate(new) if token in setting.ends), len(new))
            texts.append(new[:end])
    return texts


class Measured(NamedTuple):
    wall: float
    processor: float
    texts: list[list[int]]


def measure(work: Callable[[], list[list[int]]], *, share: float = 1.0) -> Measured:
    wall, processor = time.perf_counter(), time.process_time()
    texts = work()
    return Measured((time.perf_counter() - wall) * share, (time.process_time() - processor) * share, texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="tunelab/tiny")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    setting = prepare(chosen.model, chosen.prompts)
    spread = setting.prompts[:: max(1, chosen.prompts // chosen.single)]
    share = len(setting.prompts) / len(spread)
    with_batches(setting, setting.prompts[:32], size=BATCH)  # allocation and kernel choice
    with_tunelab(setting._replace(prompts=setting.prompts[:32]))
    ratios: dict[tuple[str, str], list[float]] = {}
    for number in range(1, chosen.rounds + 1):
        own = measure(lambda: with_tunelab(setting))
        others = {
            "batches": measure(lambda: with_batches(setting, setting.prompts, size=BATCH)),
            "single": measure(lambda: with_batches(setting, spread, size=1), share=share),
        }
        parts = [f"tunelab {own.wall:.2f} s wall {own.processor:.2f} s processor"]
        for name, other in others.items():
            wall, processor = other.wall / own.wall, other.processor / own.processor
            ratios.setdefault((name, "wall"), []).append(wall)
            ratios.setdefault((name, "processor"), []).append(processor)
            parts.append(f"{name} {other.wall:.2f} s ({wall:.2f}x) {other.processor:.2f} s ({processor:.2f}x)")
        different = sum(one != two for one, two in zip(own.texts, others["batches"].texts, strict=True))
        print(f"round {number}: {'; '.join(parts)}; {different} texts differ", flush=True)
    lengths = [len(text) for text in own.texts]
    print(f"{len(lengths)} prompts, {sum(lengths)} new tokens, {min(lengths)} to {max(lengths)} a text")
    for (name, clock), values in ratios.items():
        spread_text = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name}, {clock}: median {statistics.median(values):.2f}x of {len(values)} rounds, {spread_text}")


if __name__ == "__main__":
    main()
