"""Every method on two real tasks: the data and the studies of benchmarks/all-methods_*.md.

    python benchmarks/all_methods.py SHARED OUT      # SHARED: the folder with data/; writes the four studies into OUT
    tunelab run OUT/e2e.yaml --out OUT/e2e           # and stories.yaml; e2e-why.yaml, stories-why.yaml: ablations

e2e: the embedded causal model on human restaurant descriptions. stories: the pretrained stories260K (260,032 weights)
on TinyStories text in lower case, which it was not trained on.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

WHOLE = (3e-4, 1e-3, 3e-3, 1e-2)
ADAPTER = (1e-3, 3e-3, 1e-2, 3e-2)
"""Of adapters and of APOLLO. Half decades; a best rate at an edge asks for one more beyond it."""
SPARSE = tuple(round(rate / 3.5, 7) for rate in ADAPTER)
"""RoSA's are those of its sparse values, whose low-rank part learns 3.5 times as fast: at the adapters' rates."""


def methods(*, rank: int, galore_rank: int) -> list[str]:
    """Study entries, all with a search of the same size."""
    whole, adapter, sparse_rates = (f"learning_rate: {list(rates)}" for rates in (WHOLE, ADAPTER, SPARSE))
    low = f"rank: {rank}, alpha: {2 * rank}"
    sparse = f"rank: {rank * 3 // 4}, alpha: {rank * 3 // 2}, density: 0.02, {sparse_rates}"
    projected = f"rank: {galore_rank}, update_gap: 25, scale: 1.0"
    return [
        f"full: {{{whole}}}",
        f"lora: {{{low}, {adapter}}}",
        f"dora: {{{low}, {adapter}}}",
        f"qlora: {{{low}, {adapter}}}",
        f"rosa: {{{sparse}}}",
        f"rosa: {{base: nf4, {sparse}}}",
        f"galore: {{{projected}, {whole}}}",
        f"q_galore: {{{projected}, {whole}}}",
        f"lisa: {{layers: 2, period: 5, {whole}}}",
        f"apollo: {{rank: {galore_rank}, {adapter}}}",
        f"sequential: {{parts: [full: {{learning_rate: 1.0e-3}}, lora: {{{low}, learning_rate: 5.0e-3}}], "
        f"shares: [0.5, 0.5], {whole}}}",
        f"layerwise: {{parts: [galore: {{{projected}, learning_rate: 1.0e-3}}, "
        f"lora: {{{low}, learning_rate: 5.0e-3}}], first: attention, {whole}}}",
        "merge: {of: [full, lora], how: average, weights: search}",
        "ensemble: {of: [full, lora]}",
    ]


def ablations(*, rank: int) -> list[str]:
    """What a difference between full and LoRA comes from: the rank, or what is not trained. The labels are their
    options, which `merge` and `ensemble` cannot name, so that these rows are a study of their own."""
    whole, adapter = (f"learning_rate: {list(rates)}" for rates in (WHOLE, ADAPTER))
    return [
        f"full: {{{whole}}}",
        f"full: {{only: [embeddings], {whole}}}",
        f"full: {{freeze: [embeddings], {whole}}}",
        f"lora: {{rank: {rank}, alpha: {2 * rank}, {adapter}}}",
        f"lora: {{rank: {8 * rank}, alpha: {16 * rank}, {adapter}}}",
        f"lora: {{rank: {rank}, alpha: {2 * rank}, also: [embeddings], {adapter}}}",
        f"lora: {{rank: {rank}, alpha: {2 * rank}, also: [embeddings, norms], {adapter}}}",
        f"lora: {{rank: {rank}, alpha: {2 * rank}, also: [norms], {adapter}}}",
    ]


STUDY = """name: all-methods-{name}
model: {model}
tasks:
  - {task}
methods:
{methods}
seeds: [0, 1, 2]
budget: {{epochs: 1}}
precision: fp32
batch: {{examples: 16, max_length: 256}}
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
    restaurants = f"{{name: e2e_nlg, {e2e}, metrics: [bleu, rouge_l, loss]}}"
    small, pretrained = "tunelab/tiny", shared / "data/tiny_models/stories260K_hf"
    studies = {
        "e2e": (small, restaurants, methods(rank=16, galore_rank=64)),
        "e2e-why": (small, restaurants, ablations(rank=16)),
        "stories": (pretrained, story, methods(rank=8, galore_rank=16)),
        "stories-why": (pretrained, story, ablations(rank=8)),
    }
    for name, (model, task, entries) in studies.items():
        lines = "\n".join(f"  - {entry}" for entry in entries)
        (out / f"{name}.yaml").write_text(STUDY.format(name=name, model=model, task=task, methods=lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
