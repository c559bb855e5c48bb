"""Beam search and greedy texts of three random models against transformers' `generate` in batches of 16, input order.

    OMP_NUM_THREADS=1 python benchmarks/beams.py [--models gpt2 llama t5] [--beams 1 4 10] [--prompts 16] [--new 20]

Models: GPT-2-shaped (6 layers of 384, vocabulary 50,257), LLaMA-shaped (8 of 512, 32,000), flan-t5-small-shaped;
random, with a head whose scores spread by 2.5 and an end token that comes after some tokens. Prompts of 18 to 60 random
tokens. Both ways in one process, interleaved, one thread; processor seconds, and their ratio's median over `--rounds`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from typing import Any

import numpy as np
import torch

from tunelab.config.schema import Generation
from tunelab.models.inference import Prompts, generate

END, PAD, BATCH, BUDGET = 1, 0, 16, 16384
SPREAD = 2.5
END_MORE = {"gpt2": 0.0, "llama": 4.0, "t5": 1.0}
"""Added to the end token's score, so that it comes."""


def model_of(kind: str) -> Any:
    from transformers import (
        GenerationConfig,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    ids = {"bos_token_id": PAD, "eos_token_id": END, "pad_token_id": PAD, "tie_word_embeddings": False}
    if kind == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(n_layer=6, n_embd=384, n_head=6, **ids))
    elif kind == "llama":
        sizes = dict(num_hidden_layers=8, hidden_size=512, intermediate_size=1376, num_attention_heads=8)
        model = LlamaForCausalLM(LlamaConfig(**sizes, **ids))
    else:
        sizes = dict(d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_heads=6, feed_forward_proj="gated-gelu")
        model = T5ForConditionalGeneration(T5Config(**sizes, **ids, decoder_start_token_id=PAD))
    model.eval().generation_config = GenerationConfig()
    old = model.lm_head.weight.data
    model.lm_head = head = torch.nn.Linear(old.shape[1], old.shape[0])
    head.weight.data, head.bias.data = old.clone(), torch.zeros(len(old))
    asked = torch.randint(5, 30000, (4, 40), generator=torch.Generator().manual_seed(1))
    options = {"decoder_input_ids": asked[:, :20]} if kind == "t5" else {}
    with torch.no_grad():
        head.weight.data *= SPREAD / model(input_ids=asked, **options).logits.std()
        highest = model(input_ids=asked, **options).logits.amax(-1).mean()
    head.bias.data[END] = highest - 1.75 * SPREAD + END_MORE[kind]
    return model


def by_transformers(model: Any, prompts: list[np.ndarray], *, beams: int, new: int) -> list[list[int]]:
    from transformers import GenerationConfig

    pairs, texts = model.config.is_encoder_decoder, []
    config = GenerationConfig(
        num_beams=beams,
        max_new_tokens=new,
        eos_token_id=[END],
        pad_token_id=PAD,
        decoder_start_token_id=PAD if pairs else None,
    )
    for begin in range(0, len(prompts), BATCH):
        rows = prompts[begin : begin + BATCH]
        width = max(map(len, rows))
        ids, mask = torch.full((len(rows), width), PAD), torch.zeros(len(rows), width, dtype=torch.long)
        for row, prompt in enumerate(rows):
            place = slice(len(prompt)) if pairs else slice(width - len(prompt), None)
            ids[row, place], mask[row, place] = torch.from_numpy(prompt.astype(np.int64)), 1
        with torch.no_grad():
            out = model.generate(ids, attention_mask=mask, generation_config=config)
        for text in out[:, 1 if pairs else width :].tolist():
            texts.append(text[: text.index(END)] if END in text else text)
    return texts


def by_tunelab(model: Any, prompts: list[np.ndarray], *, beams: int, new: int) -> list[list[int]]:
    settings = Generation(beams=beams, max_new_tokens=new)
    return generate(model, Prompts(prompts), settings, ends=[END], pad=PAD, max_tokens=BUDGET, note=print)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(END_MORE))
    parser.add_argument("--beams", type=int, nargs="*", default=[1, 4, 10])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    made = random.Random(0)
    lengths = [made.choice([18, 22, 25, 30, 34, 38, 44, 52, 60]) for _ in range(chosen.prompts)]
    prompts = [np.array([made.randint(5, 30000) for _ in range(length)], np.int32) for length in lengths]
    for kind in chosen.models:
        model = model_of(kind)
        for beams in chosen.beams:
            seconds, texts = [], []
            for _ in range(chosen.rounds):
                for way in (by_tunelab, by_transformers):
                    begun = time.process_time()
                    texts.append(way(model, prompts, beams=beams, new=chosen.new))
                    seconds.append(time.process_time() - begun)
            own, other = seconds[::2], seconds[1::2]
            ratios = [two / one for one, two in zip(own, other, strict=True)]
            different = sum(one != two for one, two in zip(*texts[-2:], strict=True))
            spread = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
            found = f"{sum(map(len, texts[-2]))} tokens, {different} texts differ"
            one, two = statistics.median(own), statistics.median(other)
            print(f"{kind}, {beams} beams: tunelab {one:.2f} s, generate {two:.2f} s, {spread}; {found}", flush=True)


if __name__ == "__main__":
    main()
