"""The figure of docs/memory.md: where the memory of five methods goes, as stacked bars.

    tunelab plan study.yaml --memory 80GiB --device gpu --json > plan.json && python scripts/memory_figure.py plan.json

Writes docs/images/memory.svg. Without an argument it makes the forecast itself, of the study that stands below.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

PLACE = Path(__file__).resolve().parents[1] / "docs" / "images" / "memory.svg"
STUDY: dict[str, Any] = {
    "model": "meta-llama/Llama-2-7b-hf",
    "tasks": [{"name": "restaurants", "metrics": ["loss"]}],
    "methods": ["full", "galore", "lora", "rosa", "qlora"],
    "precision": "bf16",
    "batch": {"max_tokens": 4096, "max_length": 512},
}
COLOURS = {"weights": "#4269d0", "gradients": "#efb118", "optimizer state": "#ff725c", "kept for backward": "#6cc5b0",
           "head": "#a463f2", "other": "#9c9c9c"}  # fmt: skip
GIB = 2**30
LEFT, TOP, WIDTH, BAR, STEP = 70, 46, 560, 26, 40


def shares(parts: dict[str, int]) -> dict[str, float]:
    """GiB by what is shown."""
    found = dict.fromkeys(COLOURS, 0.0)
    for name, size in parts.items():
        kind = "weights" if name.startswith("weights") else name
        found[kind if kind in found else "other"] += size / GIB
    return found


def drawn(methods: dict[str, dict[str, float]], title: str) -> str:
    """SVG; a bar a method, with its sum behind it."""
    most = max(sum(parts.values()) for parts in methods.values())
    high = TOP + STEP * len(methods) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {high}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="20" font-size="14">{escape(title)}</text>'
    ]
    for number, (method, parts) in enumerate(methods.items()):
        y, x = TOP + STEP * number, float(LEFT)
        lines.append(f'<text x="{LEFT - 8}" y="{y + 18}" text-anchor="end">{escape(method)}</text>')
        for name, size in parts.items():
            width = size / most * WIDTH
            if width >= 0.5:
                told = f"{method}, {name}: {size:.2f} GiB"
                lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[name]}">'
                             f"<title>{escape(told)}</title></rect>")  # fmt: skip
            x += width
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 18}">{sum(parts.values()):.1f} GiB</text>')
    x = LEFT
    for name, colour in COLOURS.items():
        lines.append(f'<rect x="{x}" y="{high - 24}" width="12" height="12" fill="{colour}"/>'
                     f'<text x="{x + 16}" y="{high - 13}">{name}</text>')  # fmt: skip
        x += 34 + 7 * len(name)
    return "\n".join([*lines, "</svg>"]) + "\n"


def forecasts() -> list[dict[str, Any]]:
    import tunelab

    return tunelab.memory(STUDY, "80GiB", device="gpu").as_json()["methods"]


def main(arguments: list[str]) -> None:
    found = json.loads(Path(arguments[0]).read_text())["memory"]["methods"] if arguments else forecasts()
    methods = {each["method"]: shares(each["phases"]["train"]) for each in found if "phases" in each}
    title = "Llama-2 7B on a GPU, bf16 products, micro-batches of 4,096 tokens: predicted peak of training"
    PLACE.write_text(drawn(methods, title), encoding="utf-8")
    print(f"{PLACE}: {PLACE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
