"""The output head in blocks against full logits and torch's cross-entropy: time and peak memory, forward and backward.

    python benchmarks/linear_cross_entropy.py

Each in a process of its own (peaks), rounds alternate, medians. One thread, fp32.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

SHAPES = ((512, 512, 32_000), (512, 640, 151_936))
"""Supervised positions, hidden, vocabulary."""
ROUNDS = 3


def measure(kind: str, positions: int, hidden: int, vocabulary: int) -> tuple[float, float]:
    """Seconds of one forward and backward (the second of two), and peak GiB above the inputs."""
    import torch
    from torch.nn import functional as F

    from tunelab.kernels.linear_cross_entropy import linear_cross_entropy
    from tunelab.training.telemetry import ResidentMemory

    torch.set_num_threads(1)
    torch.manual_seed(0)
    states = torch.randn(positions, hidden, requires_grad=True)
    weight = torch.randn(vocabulary, hidden, requires_grad=kind.endswith("trained"))
    target = torch.randint(vocabulary, (positions,))
    memory = ResidentMemory()
    before = memory.current_gib()
    for _ in range(2):
        states.grad = weight.grad = None
        memory.reset()
        began = time.perf_counter()
        if kind.startswith("blocks"):
            loss = linear_cross_entropy(states, weight, None, target)
        else:
            loss = F.cross_entropy(F.linear(states, weight), target, reduction="sum")
        loss.backward()
        seconds = time.perf_counter() - began
    return seconds, memory.peak_gib() - before


def main() -> None:
    print("| positions x hidden x vocabulary | head | full logits: s | blocks: s | full logits: peak GiB | blocks |")
    print("|---|---|---|---|---|---|")
    for shape in SHAPES:
        for head in ("frozen", "trained"):
            found: dict[str, list[tuple[float, float]]] = {"full": [], "blocks": []}
            for _ in range(ROUNDS):
                for kind, values in found.items():
                    command = [sys.executable, __file__, f"{kind} {head}", *map(str, shape)]
                    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                    values.append(tuple(map(float, printed.split())))
            cells = [statistics.median(value[part] for value in found[kind]) for part in (0, 1) for kind in found]
            print(f"| {' x '.join(map(str, shape))} | {head} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*measure(sys.argv[1], *map(int, sys.argv[2:])))
    else:
        main()
