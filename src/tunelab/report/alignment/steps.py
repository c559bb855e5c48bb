"""Two trainings step by step: how far their losses, gradients and validation losses lie apart, and how fast each is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunelab.records import StepRecord
from tunelab.report.alignment.pairs import Pair
from tunelab.report.reading import RunRecords, whole_seconds

FIRST_STEPS = 3
"""In no median of milliseconds: memory is found and kernels are chosen or compiled in them."""


class Apart(NamedTuple):
    """How far two series lie apart at the steps that both have."""

    num_steps: int
    largest: float
    at_step: int
    mean: float
    at_first: float
    """At the first step that both have: of losses what the forward pass alone does, before anything was learned."""


class StepByStep(NamedTuple):
    """Of one pair. None: nothing to compare."""

    num_first: int
    num_other: int
    """Steps that each has."""
    loss: Apart | None
    """Relative to the larger of the two."""
    grad_norm: Apart | None
    """Absolute."""
    validation: Apart | None
    """Of validation losses; relative."""
    perplexity: tuple[float | None, float | None]
    """exp of each one's last validation loss at a step that both have."""
    num_other_tokens: int
    """Steps at which the two did not see equally many tokens or supervised tokens: not the same rows."""
    num_other_rate: int
    """Steps at which their learning rates differ."""

    @property
    def is_whole(self) -> bool:
        return self.loss is not None and self.num_first == self.num_other == self.loss.num_steps


class Speed(NamedTuple):
    """Of one run. None: not measured."""

    first_step_ms: float | None
    """Apart, for a back end may compile in it."""
    step_ms: float | None
    """Median without the first steps."""
    tokens_per_second: float | None
    train_seconds: float | None
    total_seconds: float | None
    peak_gib: float | None
    """Of training."""


def step_by_step(pair: Pair) -> StepByStep:
    first, other = (steps_of(run) for run in pair)
    shared = [step for step in first if step in other]
    validation = [{record.step: record.loss for record in run.validation} for run in pair]
    last = max(set.intersection(*map(set, validation)), default=None)
    return StepByStep(
        num_first=len(first), num_other=len(other),
        loss=apart(_read(first, "loss"), _read(other, "loss"), relative=True),
        grad_norm=apart(_read(first, "grad_norm"), _read(other, "grad_norm"), relative=False),
        validation=apart(*validation, relative=True),
        perplexity=(None, None) if last is None else (perplexity(validation[0][last]), perplexity(validation[1][last])),
        num_other_tokens=sum(_tokens(first[step]) != _tokens(other[step]) for step in shared),
        num_other_rate=sum(
            not math.isclose(first[step].learning_rate, other[step].learning_rate, rel_tol=1e-6) for step in shared
        ),
    )  # fmt: skip


def apart(first: Mapping[int, float], other: Mapping[int, float], *, relative: bool) -> Apart | None:
    """None: they share no step. A value that is not finite in one alone is infinitely far."""
    shared = sorted(set(first) & set(other))
    if not shared:
        return None
    gaps = [_gap(first[step], other[step], relative=relative) for step in shared]
    largest = max(gaps)
    return Apart(len(gaps), largest, shared[gaps.index(largest)], math.fsum(gaps) / len(gaps), gaps[0])


def together(found: Sequence[Apart | None]) -> Apart | None:
    """Over several pairs: every step counts once."""
    known = [each for each in found if each is not None]
    if not known:
        return None
    num_steps = sum(each.num_steps for each in known)
    worst = max(known, key=lambda each: each.largest)
    mean = math.fsum(each.mean * each.num_steps for each in known) / num_steps
    return Apart(num_steps, worst.largest, worst.at_step, mean, max(each.at_first for each in known))


def steps_of(run: RunRecords) -> dict[int, StepRecord]:
    """A step that was done again after a restart counts once, as done last."""
    return dict(sorted({record.step: record for record in run.steps}.items()))


def perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def speed_of(run: RunRecords) -> Speed:
    seconds = [record.seconds for record in steps_of(run).values()]
    later, train = seconds[FIRST_STEPS:], run.result.phases.get("train")
    return Speed(
        first_step_ms=1000 * seconds[0] if seconds else None,
        step_ms=1000 * statistics.median(later) if later else None,
        tokens_per_second=run.result.tokens_per_second,
        train_seconds=None if train is None else train.seconds,
        total_seconds=whole_seconds(run),
        peak_gib=None if train is None else train.peak_gib,
    )  # fmt: skip


def same_texts(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Generated texts that are letter for letter the same, and all that both back ends have."""
    same = num = 0
    for pair in pairs:
        first, other = ({row.id: row.prediction for row in run.predictions} for run in pair)
        both = [id for id, text in first.items() if text is not None and other.get(id) is not None]
        same += sum(first[id] == other[id] for id in both)
        num += len(both)
    return same, num


def as_json(found: StepByStep) -> dict[str, Any]:
    values = found._asdict()
    for name in ("loss", "grad_norm", "validation"):
        values[name] = None if values[name] is None else values[name]._asdict()
    return values


def _read(steps: Mapping[int, StepRecord], field: str) -> dict[int, float]:
    """Without steps that have none: of a step that was skipped there is no gradient norm."""
    found = {step: getattr(record, field) for step, record in steps.items()}
    return {step: value for step, value in found.items() if value is not None}


def _gap(first: float, other: float, *, relative: bool) -> float:
    if first == other:
        return 0.0
    difference = abs(first - other)
    if not math.isfinite(difference):
        return math.inf
    return difference / max(abs(first), abs(other)) if relative else difference


def _tokens(record: StepRecord) -> tuple[int, int]:
    return record.num_tokens, record.num_supervised_tokens
