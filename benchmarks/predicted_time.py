"""Predicted time beside measured: every method on four kinds of model, from a calibration of the same minute.

    python benchmarks/predicted_time.py OUT.json [SHAPE ...] [--precisions fp32,bf16] [--tokens 512]

Cases are those of predicted_memory.py, one thread, each in a process of its own. Measured is processor time, the median
of a usual step (forward, backward, update) and of losses without gradients; predicted is the trace at the machine's
rates, which are measured at the cases' shapes right before their steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from predicted_memory import SHAPES, forked, planned, rows, session_of

from tunelab.backends.torch.foresight.forecasting import batch_of, forecast
from tunelab.backends.torch.products import medium_is_exact
from tunelab.backends.torch.speed.duration import seconds
from tunelab.config.run import RunConfig
from tunelab.errors import ConfigError
from tunelab.study.foresight.duration import update_gap
from tunelab.study.foresight.time import machine_speed
from tunelab.study.planning.plan import method_of

STEPS = 5
WITHIN = 0.3


def measured(run: RunConfig, sizes: list[tuple[int, int, int]]) -> dict[str, float]:
    """Processor seconds of a step after the first, and of losses."""
    session, batch, found = session_of(run), batch_of(sizes), {"step": [], "losses": []}
    for _ in range(STEPS):
        began = time.process_time()
        session.accumulate(batch, denominator=float(batch.num_supervised), last=True)
        session.gradient_norm()
        session.update(learning_rate=1e-4, max_norm=1.0)
        found["step"].append(time.process_time() - began)
    for _ in range(STEPS):
        began = time.process_time()
        session.losses([batch])
        found["losses"].append(time.process_time() - began)
    return {name: statistics.median(taken[1:]) for name, taken in found.items()}


def case(run: RunConfig, sizes: list[tuple[int, int, int]]) -> dict[str, Any]:
    if medium_is_exact():
        torch.set_float32_matmul_precision("medium")
    method = method_of(run.method)
    try:
        told = forecast(run, method, sizes, on_gpu=False)
    except ConfigError:  # PEFT has no such layers for this model
        return {}
    if method is None or told is None:
        return {}
    speed = machine_speed([told], threads=1)
    took = measured(run, sizes)
    (effort, *_) = told.efforts
    step, first = (
        seconds(effort.micro_batch, speed).of() + seconds(effort.update, speed).of(),
        seconds(effort.first, speed).of(),
    )
    if (gap := update_gap(method)) is not None:  # what the first step makes is made again in one of so many
        step += max(0.0, first - step) / gap
    predicted = {"step": step, "losses": seconds(effort.losses, speed).of()}
    return {"measured": took, "predicted": predicted, "gigaflops": effort.micro_batch.flops / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("shapes", nargs="*", default=[])
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--tokens", default="512")
    asked = parser.parse_args()
    found: list[dict[str, Any]] = []
    for shape in asked.shapes or SHAPES:
        for precision in asked.precisions.split(","):
            for tokens in map(int, asked.tokens.split(",")):
                for run in planned(asked.out.resolve().parent / f"config-{shape}", shape, precision, tokens):
                    sizes = rows(shape, tokens)
                    told = forked(lambda run=run, sizes=sizes: case(run, sizes)) or {}
                    facts = {"shape": shape, "precision": precision, "tokens": tokens, "method": run.method["label"]}
                    found.append({**facts, **told})
                    asked.out.write_text(json.dumps(found, indent=1))
                    print(_line(found[-1]), flush=True)
    shares = [abs(_share(each, "step")) for each in found if "measured" in each]
    near = sum(share <= WITHIN for share in shares)
    print(f"\n{len(shares)} cases: median {statistics.median(shares):.0%}, worst {max(shares):.0%}; {near} within 30 %")


def _share(each: dict[str, Any], what: str) -> float:
    return each["predicted"][what] / each["measured"][what] - 1


def _line(each: dict[str, Any]) -> str:
    cells = [each[name] for name in ("shape", "precision", "tokens", "method")]
    for what in ("step", "losses") if "measured" in each else ():
        took, told = each["measured"][what], each["predicted"][what]
        cells += [f"{took * 1e3:.0f}", f"{told * 1e3:.0f}", f"{_share(each, what):+.0%}"]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
