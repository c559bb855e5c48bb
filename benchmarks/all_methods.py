"""Every method on two real tasks: the data and the studies of benchmarks/all-methods_*.md.

    python benchmarks/all_methods.py SHARED OUT      # SHARED: the folder with data/; writes the two studies into OUT
    tunelab run OUT/e2e.yaml --out OUT/e2e
    tunelab run OUT/stories.yaml --out OUT/stories

e2e: the embedded causal model on human restaurant descriptions. stories: the pretrained stories260K (260,032 weights)
on TinyStories text in lower case, which it was not trained on.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

RATES = {
    "full": (1e-3, 3e-3),
    "adapter": (3e-3, 8e-3, 1.2e-2, 2e-2),
    "rosa": (8.6e-4, 2.29e-3, 3.43e-3, 5.71e-3),  # its low-rank part at 3.5 times as much: the adapters' rates
    "projected": (1e-3, 5e-3),
}


def methods(*, rank: int, galore_rank: int) -> list[str]:
    """Study entries, small learning-rate searches included."""
    full, adapter, rosa, projected = (list(rates) for rates in RATES.values())
    low = f"rank: {rank}, alpha: {2 * rank}"
    sparse = f"rank: {rank * 3 // 4}, alpha: {rank * 3 // 2}, density: 0.02, learning_rate: {rosa}"
    return [
        f"full: {{learning_rate: {full}}}",
        f"lora: {{{low}, learning_rate: {adapter}}}",
        f"dora: {{{low}, learning_rate: {adapter}}}",
        f"qlora: {{{low}, learning_rate: {adapter}}}",
        f"rosa: {{{sparse}}}",
        f"rosa: {{base: nf4, {sparse}}}",
        f"galore: {{rank: {galore_rank}, update_gap: 25, scale: 1.0, learning_rate: {full}}}",
        f"q_galore: {{rank: {galore_rank}, update_gap: 25, scale: 1.0, learning_rate: {full}}}",
        f"lisa: {{layers: 2, period: 5, learning_rate: {full}}}",
        f"apollo: {{rank: {galore_rank}, learning_rate: {projected}}}",
        f"sequential: {{parts: [full: {{learning_rate: 1.0e-3}}, lora: {{{low}, learning_rate: 5.0e-3}}], "
        f"shares: [0.5, 0.5], learning_rate: {full}}}",
        f"layerwise: {{parts: [galore: {{rank: {galore_rank}, update_gap: 25, scale: 1.0, learning_rate: 1.0e-3}}, "
        f"lora: {{{low}, learning_rate: 5.0e-3}}], first: attention, learning_rate: {full}}}",
        "merge: {of: [full, lora], how: average, weights: search}",
        "ensemble: {of: [full, lora]}",
    ]


STUDY = """name: all-methods-{name}
model: {model}
tasks:
  - {task}
methods:
{methods}
seeds: [0, 1, 2]
budget: {{epochs: 1}}
batch: {{examples: 16, max_tokens: 4096, max_length: 256}}
validation: {{every: 0.5}}
generation: {{max_new_tokens: 80}}
threads: 1
launch: {{workers: 2}}
"""


def stories(text: str) -> list[str]:
    """Stories are divided by one newline, paragraphs of a story by a blank line."""
    return [story.strip() for story in re.split(r"(?<!\n)\n(?!\n)", text) if len(story.strip()) > 100]


def write(shared: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    found = stories((shared / "data/tinystories/tinystories.txt").read_text(encoding="utf-8"))
    for name, rows in (("test", found[:200]), ("validation", found[200:300]), ("train", found[400:800])):
        (out / f"stories_{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    e2e = f"path: {shared / 'data/e2e_nlg'}, train_rows: 1000, validation_rows: 100, test_meanings: 150"
    files = ", ".join(f"{split}: stories_{split}.jsonl" for split in ("train", "validation", "test"))
    story = f'{{name: stories, {files}, text: "{{text}}", metrics: [bits_per_token, perplexity]}}'
    for name, model, task, entries in (
        (
            "e2e",
            "tunelab/tiny",
            f"{{name: e2e_nlg, {e2e}, metrics: [bleu, rouge_l]}}",
            methods(rank=16, galore_rank=64),
        ),
        ("stories", shared / "data/tiny_models/stories260K_hf", story, methods(rank=8, galore_rank=16)),
    ):
        lines = "\n".join(f"  - {entry}" for entry in entries)
        (out / f"{name}.yaml").write_text(STUDY.format(name=name, model=model, task=task, methods=lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
