"""What GaLore's basis is found from when a step is cut: the whole gradient (looks), its first micro-batch, or a sketch.

    python benchmarks/galore_basis.py [--threads 1] [--shared FOLDER] [--part angles]

Prints the tables of benchmarks/galore-basis_*.md. `toy`: losses of a matrix whose micro-batches pull in different
directions. `angles`: bases on real gradients against the SVD of the whole one. `cost:*`: steps of the 44 M model of
galore_step.py, a process each.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from galore_step import METHODS, MIB, batches, llama, session, text_rows
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunelab.config.schema import Optimizer
from tunelab.data.tokens.batching import micro_batches
from tunelab.kernels.projector import Projector, overlap
from tunelab.training.matrices import FloatMatrix
from tunelab.training.projected import Projected, ProjectedRule, Settings, inner_optimizer
from tunelab.training.step import accumulate
from tunelab.training.telemetry import Meter, ResidentMemory

CUTS = (1, 2, 4, 8, 16)
COSTS = ("one piece", "first micro-batch", "looks")


# ------------------------------------------------------------ a harsh toy


def toy(kind: str, cut: int, *, look: bool, steps: int = 200, rank: int = 8) -> float:
    """Least squares, 64 examples in 16 groups that each have four input directions of their own and come in order:
    a first micro-batch of 1/16 knows 4 of 64. Returns the loss after the steps; 64 at the start."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.linalg.qr(torch.randn(64, 64, generator=generator)).Q * torch.linspace(1, 2, 64)[:, None]
    wanted = torch.randn(64, 48, generator=generator)
    scale = 64 / float((inputs @ wanted).square().sum())
    weight = torch.nn.Parameter(torch.zeros(48, 64))
    rule = Optimizer(weight_decay=0.0)
    projector = Projector((48, 64), rank=rank, kind=kind, side="reverse_std", name="w", seed=0)
    settings = Settings(update_gap=20, scale=1.0, moments="keep")
    target = Projected(FloatMatrix(weight, transposed=False), projector, settings, inner_optimizer(rule, kind="adamw"))
    updater = ProjectedRule({"w": target}, None, rule, notes={})
    parts = torch.arange(64).chunk(cut)

    def loss(rows: Tensor) -> Tensor:
        return scale * (inputs[rows] @ weight.t() - inputs[rows] @ wanted).square().sum()

    for _ in range(steps):
        while look and updater.wants_look(num_batches=cut):
            with updater.look():
                for rows in parts:
                    loss(rows).backward()
        for rows in parts:
            loss(rows).backward()
        updater.update(learning_rate=0.03, max_norm=None)
    return loss(torch.arange(64)).item()


def measure_toy() -> None:
    print("| basis | " + " | ".join(f"{cut} micro-batches" for cut in CUTS) + " |")
    for kind in ("svd", "subspace"):
        for look in (False, True):
            losses = " | ".join(f"{toy(kind, cut, look=look):.2f}" for cut in CUTS)
            print(f"| {kind}, {'whole step' if look else 'first micro-batch'} | {losses} |", flush=True)


# ------------------------------------------------------------ bases on real gradients


def exact(gradient: Tensor, rank: int) -> Tensor:
    """The leading right singular vectors, (I, R)."""
    return torch.linalg.svd(gradient, full_matrices=False)[2][:rank].t()


def first_piece(parts: list[Tensor], rank: int) -> Tensor:
    return exact(parts[0], rank)


def frequent_directions(parts: list[Tensor], rank: int) -> Tensor:
    """One pass: an SVD of what is kept (2R rows of I) with each micro-batch's gradient. Ghashami et al. 2016."""
    kept = torch.zeros(0, parts[0].shape[1])
    for part in parts:
        _, values, right = torch.linalg.svd(torch.cat([kept, part]), full_matrices=False)
        kept = values[: 2 * rank, None] * right[: 2 * rank]
    return exact(kept, rank)


def sketches(passes: int, start: Tensor | None = None) -> Callable[[list[Tensor], int], Tensor]:
    """Halko et al. 2011: Q of G O, then G^T Q, each a sum over the micro-batches: `passes` before the one that counts,
    in which Q^T G is summed up. `start`: the basis of an earlier step beside the random columns."""

    def found(parts: list[Tensor], rank: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        side = torch.randn(parts[0].shape[1], rank + 16, generator=generator)
        if start is not None:
            side[:, :rank] = start
        for number in range(passes):
            other = sum(part @ side if number % 2 == 0 else part.t() @ side for part in parts)
            side = torch.linalg.qr(other).Q
        small = sum(side.t() @ part for part in parts) if passes % 2 else sum(part @ side for part in parts)
        right = torch.linalg.svd(small, full_matrices=False)[2][:rank].t()
        return right if passes % 2 else side @ right

    return found


def projector(kind: str) -> Callable[[list[Tensor], int], Tensor]:
    def found(parts: list[Tensor], rank: int) -> Tensor:
        one = Projector(tuple(parts[0].shape), rank=rank, kind=kind, side="right", name="w", seed=0)
        one.refresh(sum(parts[1:], parts[0]))
        return one.bases["right"]

    return found


def gradients_of_parts(model, rows: list, names: list[str], cut: int) -> dict[str, list[Tensor]]:
    """Of each micro-batch of one step, divided by the step's tokens; micro-batches as tunelab cuts: longest first."""
    one = session("full", model)
    parts = list(micro_batches(rows, max_tokens=2 * sum(row.num_tokens for row in rows) // cut))
    tokens, kept = sum(part.num_supervised for part in parts), {name: [] for name in names}
    for part in parts:
        one.accumulate(part, denominator=tokens, last=False)
        for name in names:
            kept[name].append(model.get_submodule(name).weight.grad.clone())
        model.zero_grad(set_to_none=True)
    return kept


def measure_angles(shared: Path) -> None:
    folder = shared / "data" / "tiny_models" / "stories260K_hf"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    stories = (shared / "data" / "tinystories" / "tinystories.txt").read_text(encoding="utf-8")
    texts = [stories[start : start + 60 + 15 * number] for number, start in enumerate(range(0, 32 * 600, 600))]
    rows = [row for row in text_rows(tokenizer, texts) if row.num_tokens > 4]
    earlier = [row for row in text_rows(tokenizer, [stories[-start - 600 : -start] for start in range(600, 9600, 600)])]
    names, rank = ["model.layers.2.self_attn.q_proj", "model.layers.2.mlp.down_proj"], 16
    parts_of = gradients_of_parts(model, rows, names, 16)
    before = gradients_of_parts(model, earlier, names, 1)
    print("| matrix | basis from | passes more | overlap | cosine of the largest angle | energy kept of the exact |")
    for name, parts in parts_of.items():
        whole = sum(parts[1:], parts[0])
        best, warm = exact(whole, rank), exact(sum(before[name][1:], before[name][0]), rank)
        ways = {
            f"first of {len(parts)} micro-batches": (first_piece, 0),
            "frequent directions, 2R kept": (frequent_directions, 0),
            "one sketch, cold": (sketches(1), 1),
            "one sketch, warm": (sketches(1, warm), 1),
            "two products, warm": (sketches(2, warm), 2),
            "four products, warm": (sketches(4, warm), 4),
            "whole step, subspace": (projector("subspace"), "looks"),
            "whole step, svd": (projector("svd"), "looks"),
        }
        for label, (way, passes) in ways.items():
            basis = way(parts, rank)
            smallest = float(torch.linalg.svdvals(basis.t() @ best)[-1])
            energy = float((whole @ basis).square().sum() / (whole @ best).square().sum())
            print(f"| {name} | {label} | {passes} | {overlap(basis, best):.3f} | {smallest:.3f} | {energy:.4f} |")


# ------------------------------------------------------------ what a look costs


def measure_cost(way: str, pairs: int) -> None:
    """Processor seconds of steps without and with a refresh, and the peak of the process over both."""
    meter = Meter(ResidentMemory())
    one = session("galore", llama())
    looks = 0

    def step(number: int) -> float:
        nonlocal looks
        parts, began = batches(number), time.process_time()
        if way == "one piece":
            parts = [type(parts[0])(tuple(row for part in parts for row in part.rows))]
        if way == "looks":
            look = one.look
            one.look = lambda: counted(look)
            accumulate(one, parts, key=(0, number))
            one.look = look
        else:
            tokens = sum(part.num_supervised for part in parts)
            for part in parts:
                one.accumulate(part, denominator=tokens, last=part is parts[-1])
        one.gradient_norm()
        one.update(learning_rate=1e-4, max_norm=1.0)
        return time.process_time() - began

    def counted(look):
        nonlocal looks
        looks += 1
        return look()

    with meter.phase("train"):
        step(0)
        cold, plain, due = looks, [], []
        for number in range(1, pairs + 1):
            plain.append(step(number))
            for target in one.updater.targets.values():
                target.refreshed_at = -1  # due again
            due.append(step(number))
    peak = meter.costs()["train"].peak_gib * 1024
    without, refresh = statistics.median(plain), statistics.median(due)
    share = (refresh - without) / without / METHODS["galore"].update_gap
    print(f"| {way} | {without:.2f} | {refresh:.2f} | {cold} | {share:.2%} | {peak:,.0f} |", flush=True)
    print(json.dumps({"room_mib": 4 * one.updater._looks.room / MIB, "plain": plain, "due": due}), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--part", choices=["toy", "angles", *(f"cost:{way}" for way in COSTS)])
    given = parser.parse_args()
    if given.part is None:
        print("| step | without a refresh (s) | with one (s) | looks | more over 200 steps | train peak (MiB) |")
        for part in (*(f"cost:{way}" for way in COSTS), "toy", "angles"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)
        return
    torch.set_num_threads(given.threads)
    if given.part == "toy":
        measure_toy()
    elif given.part == "angles":
        measure_angles(given.shared)
    else:
        measure_cost(given.part.partition(":")[2], given.pairs)


if __name__ == "__main__":
    main()
