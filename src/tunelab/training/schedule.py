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

    Of the customary Trainer schedule (transformers' `get_scheduler`) only the warm-up differs: there it is a step
    behind, so that the first step has rate 0 and the last of the warm-up less than the peak. From the step after the
    warm-up on the two are the same, constant, linear or cosine.
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
