"""Learning rate over a run: linear warm-up, then constant, linear or cosine decay. Free of torch."""

from __future__ import annotations

import math

from tunelab.config.schema import Schedule


def warmup_steps(schedule: Schedule, *, num_steps: int) -> int:
    """Below 1 `warmup` is a share of all steps, from 1 on a number of steps."""
    wanted = schedule.warmup * num_steps if schedule.warmup < 1 else schedule.warmup
    return min(round(wanted), num_steps)


def learning_rate(step: int, *, peak: float, schedule: Schedule, num_steps: int) -> float:
    """The rate of step `step`, counted from 1. No step has rate 0: the decay would reach it one step after the last.

    The customary Trainer schedule is this one moved by a step, so that its first step of a warm-up moves nothing.
    """
    warmup = warmup_steps(schedule, num_steps=num_steps)
    if step <= warmup:
        return peak * step / warmup
    done = (step - warmup - 1) / (num_steps - warmup)
    if schedule.kind == "linear":
        return peak * (1.0 - done)
    if schedule.kind == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * done))
    return peak
