"""Jittor beside PyTorch: whether both agree on real E2E data, and how fast each is on a GPT-2-shaped model.

    python benchmarks/jittor.py align ../shared/data/e2e_nlg
    python benchmarks/jittor.py speed ../shared/data/e2e_nlg

`align`: lora and full on tunelab/tiny, three seeds, five E2E metrics; prints the study's Alignment section.
`speed`: a GPT-2 of 6 x 384 with a vocabulary of 50,257, 16 rows a step, 2 threads, fp32, dropout 0; a run a framework
by turns, two rounds; tokens/s are medians over steps 6 to 15, so that what compiles or warms up is left out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROUNDS, STEPS, FIRST = 2, 15, 5
E2E = ("bleu:e2e", "nist", "meteor", "rouge_l:coco", "cider", "perplexity")


def task(data: str, **more: Any) -> dict[str, Any]:
    return {"name": "e2e_nlg", "path": str(Path(data).absolute()), "train_rows": 6000, "validation_rows": 200, **more}


def alignment(data: str) -> dict[str, Any]:
    return {
        "name": "alignment", "model": "tunelab/tiny", "backends": ["torch", "jittor"],
        "tasks": [task(data, metrics=list(E2E))],
        "methods": [
            {"lora": {"rank": 8, "alpha": 16, "learning_rate": 2e-3}}, {"full": {"learning_rate": 5e-4}},
        ],
        "seeds": [0, 1, 2], "budget": {"steps": 200}, "batch": {"examples": 16, "max_tokens": 2048},
        "validation": {"every": 0.2}, "generation": {"max_new_tokens": 64}, "threads": 1,
    }  # fmt: skip


def shaped(folder: Path) -> Path:
    """A random GPT-2 of 6 layers of 384 with the embedded tokenizer."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from tunelab.models.load import EMBEDDED

    torch.manual_seed(0)
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(n_embd=384, n_layer=6, n_head=6, n_positions=512, bos_token_id=1, eos_token_id=1, **drops)
    GPT2LMHeadModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"]).save_pretrained(folder)
    return folder


def speed(data: str, folder: Path) -> None:
    model = shaped(folder / "model")
    ways = {
        "lora r4, query and value": {"lora": {"rank": 4, "alpha": 32, "targets": ["c_attn.q", "c_attn.v"]}},
        "full": {"full": {}},
    }
    print("| method | torch, tokens/s | jittor, tokens/s | ratio | rounds |\n|---|---:|---:|---:|---|")
    for name, method in ways.items():
        found: dict[str, list[float]] = {"torch": [], "jittor": []}
        for number in range(ROUNDS):
            for backend, rates in found.items():
                facts = {
                    "name": "speed", "model": str(model), "backends": [backend], "methods": [method], "seeds": [number],
                    "tasks": [task(data, metrics=["perplexity"], test_meanings=2)], "budget": {"steps": STEPS},
                    "batch": {"examples": 16, "max_tokens": 4096}, "threads": 2, "validation": {"every": 1e6},
                }  # fmt: skip
                out = execute(facts, folder / f"{name.replace(' ', '-')}-{backend}-{number}")
                (steps,) = out.glob("runs/*/steps.jsonl")
                later = [json.loads(line) for line in steps.read_text().splitlines()][FIRST:]
                rates.append(statistics.median(step["tokens_per_second"] for step in later))
        ratios = [other / own for own, other in zip(*found.values(), strict=True)]
        one, other = (statistics.median(rates) for rates in found.values())
        rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {name} | {one:,.0f} | {other:,.0f} | {statistics.median(ratios):.2f} | {rounds} |", flush=True)


def execute(facts: dict[str, Any], out: Path) -> Path:
    out.mkdir()
    (out / "study.yaml").write_text(yaml.safe_dump(facts))
    command = [sys.executable, "-m", "tunelab", "run", str(out / "study.yaml"), "--out", str(out / "out")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out / "out"


def main(what: str, data: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        if what == "speed":
            speed(data, Path(place))
            return
        text = (execute(alignment(data), Path(place) / "align") / "report.md").read_text()
        print("## Alignment" + text.partition("## Alignment")[2].partition("\n## ")[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
