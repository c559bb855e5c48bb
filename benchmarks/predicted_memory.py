"""Predicted memory beside measured: every method on four kinds of model, in two precisions, with two token budgets.

    python benchmarks/predicted_memory.py OUT [SHAPE ...] [--precisions fp32,bf16] [--tokens 512,1024]
    python benchmarks/predicted_memory.py OUT --table       # what lies there, as Markdown

Each case is a run of `tunelab run` in a process of its own, of three steps. Measured is the peak of its train phase
above what the process was before it had a model, less the bytes of the weights (a model's file is mapped, and its pages
count only when they are read, so that what is resident right after loading is not the loaded model); predicted is what the same run's configuration and its largest micro-batch give, without
weights. Models have random weights of the shapes of benchmarks/side_by_side.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from side_by_side.prepare import write_model  # noqa: E402
from side_by_side.rows import first_rows  # noqa: E402
from side_by_side.workloads import FLAN_T5, GEMMA, GPT2, LLAMA, Rows, Shape  # noqa: E402

SHAPES: dict[str, Shape] = {"gpt2": GPT2, "llama": LLAMA, "t5": FLAN_T5, "gemma": GEMMA}
LOW = {"rank": 8}
PROJECTED = {"rank": 64, "update_gap": 2}
METHODS: list[dict[str, Any]] = [
    {"full": {}},
    {"lora": LOW},
    {"dora": LOW},
    {"qlora": LOW},
    {"rosa": {**LOW, "density": 0.01, "warmup_steps": 1, "mask_examples": 4}},
    {"galore": PROJECTED},
    {"q_galore": PROJECTED},
    {"apollo": PROJECTED},
    {"lisa": {"layers": 1, "period": 2}},
    {"peft_any": {"type": "LOHA", "r": 8}},
    {"sequential": {"parts": [{"lora": LOW}, {"full": {}}], "shares": [0.5, 0.5]}},
    {"layerwise": {"parts": [{"galore": PROJECTED}, {"lora": LOW}], "first": "attention"}},
]
ROWS = Rows("gsm8k", examples=12, max_length=512)


def study(folder: Path, shape: str, precision: str, tokens: int) -> Path:
    model = folder / f"model-{shape}"
    write_model(model, SHAPES[shape], real=False)
    content = {
        "name": f"{shape}-{precision}-{tokens}",
        "model": str(model),
        "tasks": [{"name": "rows", **{part: str(folder / f"{part}.jsonl") for part in ("train", "validation", "test")},
                   "prompt": "{prompt}", "target": "{target}", "metrics": ["loss"]}],
        "methods": METHODS,
        "seeds": [0],
        "budget": {"steps": 4},
        "batch": {"examples": ROWS.examples, "max_length": ROWS.max_length, "max_tokens": tokens},
        "data": {"overlap": "ignore"},
        "precision": precision,
        "threads": 1,
        "schedule": {"kind": "constant", "warmup": 0},
        "validation": {"every": 1000},
        "checkpoint": {"seconds": 100000},
    }  # fmt: skip
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def write_rows(folder: Path) -> None:
    rows = first_rows(ROWS, 64, real=False, vocabulary=30000)
    for name, part in {"train": rows[:56], "validation": rows[56:60], "test": rows[60:]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def compared(folder: Path) -> list[dict[str, Any]]:
    """A row a finished run: parts predicted, and the two totals, in MiB."""
    from tunelab.foresight.forecast import weights
    from tunelab.records import RunResult
    from tunelab.study.predicted import predicted
    from tunelab.study.store import Store

    found = []
    for out in sorted(each for each in folder.iterdir() if (each / "runs").is_dir()):
        for place in sorted((out / "runs").iterdir()):
            if not (place / "result.json").exists():
                continue
            run, result = Store(out).run(place.name).read_run(), RunResult.model_validate_json((place / "result.json").read_text())
            if run.method["name"] == "base":
                continue
            forecast = predicted(run, result.largest_batch)
            peak, process = result.phases["train"].peak_gib, result.process_gib
            if forecast is None or peak is None or process is None:
                print("cannot be told:", place.name, file=sys.stderr)
                continue
            found.append({"study": out.name, "method": result.method, "measured": (peak - process) * 1024 - weights(forecast.load) / 2**20,
                          "predicted": forecast.above("train") / 2**20,
                          "parts": {name: round(size / 2**20, 1) for name, size in forecast.train.items()}})  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("shapes", nargs="*", default=[])
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--tokens", default="512,1024")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    folder = asked.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not asked.table:
        write_rows(folder)
        for shape in asked.shapes or SHAPES:
            for precision in asked.precisions.split(","):
                for tokens in asked.tokens.split(","):
                    file = study(folder, shape, precision, int(tokens))
                    subprocess.run(["tunelab", "run", file, "--out", folder / file.stem], check=False)
        return
    rows = compared(folder)
    print("| study | method | measured, MiB | predicted, MiB | difference |\n|---|---|---|---|---|")
    for row in rows:
        share = row["predicted"] / row["measured"] - 1
        row["error"] = abs(share)
        print(f"| {row['study']} | {row['method']} | {row['measured']:.0f} | {row['predicted']:.0f} | {share:+.1%} |")
    errors = sorted(row["error"] for row in rows)
    print(f"\n{len(errors)} cases: median {statistics.median(errors):.1%}, worst {errors[-1]:.1%}")
    (folder / "compared.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
