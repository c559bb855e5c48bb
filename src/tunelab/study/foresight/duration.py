"""How long one run takes, from what its micro-batches compute and how long its rows are."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tunelab.backends.torch.speed.duration import Seconds, Speed, seconds
from tunelab.computation.effort import narrowed
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.data.tokens.batching import MOST_LOOKED_AT, Order, micro_batches
from tunelab.entries import Efforts
from tunelab.models.limits import generation_tokens
from tunelab.records import Batch, RowSize
from tunelab.study.foresight.lengths import Lengths
from tunelab.training.step import run_order


class Duration(NamedTuple):
    """Of one run, in seconds."""

    steps: int
    step: float
    """A usual one; what is made once in a while is in `train`."""
    train: float
    validation: float
    evaluation: float

    @property
    def all(self) -> float:
        """Without loading, reading data and saving."""
        return self.train + self.validation + self.evaluation


def duration(
    run: RunConfig, method: Method, efforts: Sequence[Efforts], rows: Lengths, speed: Speed, *, reads: set[str]
) -> Duration:
    """
    Args:
        efforts: of the method's parts, which are taken to train equally long.
        reads: what the task's metrics read: text, likelihood, general.
    """
    order = run_order(run, rows.train)
    parts = [_train(run, method, each, order, speed) for each in efforts]
    losses = _losses(run, efforts[-1], speed)
    every = max(1, round(run.validation.every * order.steps_per_epoch))
    passes = -(-order.num_steps // every) if len(rows.validation) else 0
    evaluation = sum(losses(rows.test) for _ in ["likelihood"] if "likelihood" in reads)
    if "text" in reads:
        evaluation += _texts(run, efforts[-1], rows, speed)
    step = statistics.fmean(each.step for each in parts)
    return Duration(
        order.num_steps,
        step,
        statistics.fmean(each.all for each in parts),
        passes * losses(rows.validation) if passes else 0.0,
        evaluation,
    )


class _Trained(NamedTuple):
    step: float
    all: float


def _train(run: RunConfig, method: Method, efforts: Efforts, order: Order, speed: Speed) -> _Trained:
    batch, update, first = (seconds(each, speed) for each in (efforts.micro_batch, efforts.update, efforts.first))
    numbers = range(1, min(order.num_steps, MOST_LOOKED_AT) + 1)
    cut = {"max_tokens": run.batch.max_tokens, "padded": efforts.padded}
    passes = [_of(micro_batches(order.step(number), **cut), efforts, batch) for number in numbers]
    step = statistics.fmean(passes) + update.of()
    once = max(0.0, first.of() - batch.of() - update.of())
    times = 1 + (order.num_steps - 1) // gap if (gap := update_gap(method)) else 1
    return _Trained(step, step * order.num_steps + once * times)


def update_gap(method: Method) -> int | None:
    """Steps after which what the first one makes is made again; of several members the shortest."""
    own = [getattr(each, "update_gap", None) for each in (method, *method.members)]
    return min((gap for gap in own if gap), default=None)


def _of(batches: Sequence[Batch], efforts: Efforts, cost: Seconds) -> float:
    traced = tokens(efforts.rows, padded=efforts.padded)
    return sum(cost.of(tokens(sizes_of(batch), padded=efforts.padded) / traced) for batch in batches)


def _losses(run: RunConfig, efforts: Efforts, speed: Speed):
    """From rows to the seconds of a pass over them."""
    cost = seconds(efforts.losses, speed)
    return lambda rows: _of(micro_batches(rows, max_tokens=run.batch.max_tokens, padded=efforts.padded), efforts, cost)


def _texts(run: RunConfig, efforts: Efforts, rows: Lengths, speed: Speed) -> float:
    """Prompts go through the model at once, then a token of every text that is being written. Each text is taken to be
    as long as its reference."""
    traced = tokens(efforts.rows, padded=efforts.padded)
    longest = max(rows.prompts, default=1) + run.generation.max_new_tokens
    held = generation_tokens(run.batch.max_tokens, on_cpu=not speed.overlaps)
    texts = max(1, min(len(rows.prompts), held // longest // run.generation.beams))
    new = [min(answer + 1, run.generation.max_new_tokens) for answer in rows.answers]
    new = [new[place % len(new)] for place in range(len(rows.prompts))]
    steps = max(sum(new) / texts, max(new, default=0))
    one = seconds(narrowed(efforts.losses, texts * run.generation.beams / traced), speed)
    prompts = seconds(efforts.losses, speed)
    return prompts.of(sum(rows.prompts) / traced) + one.of(times=steps)


def sizes_of(batch: Batch) -> list[RowSize]:
    return [(len(row.ids), 0, 0 if row.source is None else len(row.source)) for row in batch.rows]


def tokens(rows: Sequence[RowSize], *, padded: bool) -> int:
    if padded:
        return len(rows) * (max(row[0] for row in rows) + max(row[2] for row in rows))
    return sum(row[0] + row[2] for row in rows)
