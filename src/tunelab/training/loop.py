"""The only training loop. It drives a Session, names no method and imports no framework.

A step is a set of examples. It is cut into micro-batches only to be executed; its loss is the sum of token losses
over the supervised tokens of the whole step, so how it is cut changes no gradient.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from tunelab.config.schema import RunConfig
from tunelab.contracts import Session
from tunelab.data.batching import Order, micro_batches
from tunelab.errors import RunError
from tunelab.records import StepRecord, TokenRow, ValidationRecord
from tunelab.training.schedule import learning_rate
from tunelab.training.state import Checkpoints, LoopState
from tunelab.training.telemetry import Meter

EMA_DECAY = 0.98


class Recorder(Protocol):
    """Where a run's records go; see study/store.py."""

    def step(self, record: StepRecord) -> None: ...

    def validation(self, record: ValidationRecord) -> None: ...

    def rewind(self, *, step: int) -> None:
        """Forget the records after `step`: they are about to be made again."""


class Loop(NamedTuple):
    """Everything a run's training needs beside the session."""

    run: RunConfig
    peak_learning_rate: float
    rows: Sequence[TokenRow]
    validation_rows: Sequence[TokenRow]
    records: Recorder
    checkpoints: Checkpoints
    meter: Meter
    progress: Callable[[dict[str, Any]], None]


def train(session: Session, loop: Loop) -> LoopState:
    """Train from the last checkpoint (or the start) to the end of the budget.

    Raises:
        RunError: the loss or the gradient norm is not finite; nothing after it would mean anything.
    """
    run, meter = loop.run, loop.meter
    order = run_order(run, loop.rows)
    validation_every = max(1, round(run.validation.every * order.steps_per_epoch))
    state = _resume(session, loop)
    with meter.phase("train"):
        loop.progress({"event": "train", "step": state.step, "num_steps": order.num_steps})
        while state.step < order.num_steps:
            state = _step(session, loop, order, state)
            if state.step % validation_every == 0 or state.step == order.num_steps:
                state = _validate(session, loop, order, state)
            if state.step == order.num_steps or loop.checkpoints.due():
                state = _checkpoint(session, loop, state)
    return state


def run_order(run: RunConfig, rows: Sequence[TokenRow]) -> Order:
    """The steps of a run: a function of rows, seed, batch and budget alone."""
    return Order(rows, seed=run.seed, examples=run.batch.examples, budget=run.budget)


def _step(session: Session, loop: Loop, order: Order, state: LoopState) -> LoopState:
    run, number, began = loop.run, state.step + 1, time.perf_counter()
    batches = micro_batches(order.step(number), max_tokens=run.batch.max_tokens)
    num_tokens = sum(batch.num_tokens for batch in batches)
    num_supervised = sum(batch.num_supervised for batch in batches)
    loss_sum = 0.0
    for index, batch in enumerate(batches):
        session.seed(run.seed, number, index)
        last = index == len(batches) - 1
        loss_sum += session.accumulate(batch, denominator=max(num_supervised, 1), last=last)
    loss, norm = loss_sum / max(num_supervised, 1), session.gradient_norm()
    rate = learning_rate(number, peak=loop.peak_learning_rate, schedule=run.schedule, num_steps=order.num_steps)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RunError(
            f"step {number}: loss {loss:.4g}, gradient norm {norm:.4g} at learning rate {rate:.3g}; the run diverged, "
            "a lower learning rate or a longer warm-up usually helps"
        )
    session.update(learning_rate=rate, max_norm=run.optimizer.clip)
    seconds = time.perf_counter() - began
    ema = EMA_DECAY * state.ema + (1 - EMA_DECAY) * loss
    record = StepRecord(
        step=number,
        loss=loss,
        learning_rate=rate,
        grad_norm=norm,
        num_tokens=num_tokens,
        num_supervised_tokens=num_supervised,
        seconds=seconds,
        ema_loss=ema / (1 - EMA_DECAY**number),
        tokens_per_second=num_tokens / seconds,
    )
    loop.records.step(record)
    loop.progress({"event": "step", "num_steps": order.num_steps, **record.model_dump()})
    return state.model_copy(
        update={
            "step": number,
            "ema": ema,
            "num_tokens": state.num_tokens + num_tokens,
            "num_supervised_tokens": state.num_supervised_tokens + num_supervised,
        }
    )


def _validate(session: Session, loop: Loop, order: Order, state: LoopState) -> LoopState:
    if not loop.validation_rows:
        return state
    with loop.meter.phase("validate"):
        batches = micro_batches(loop.validation_rows, max_tokens=loop.run.batch.max_tokens)
        losses = session.evaluate(batches)
    tokens, total = sum(loss.num_tokens for loss in losses), math.fsum(loss.loss_sum for loss in losses)
    mean = total / tokens
    if not math.isfinite(mean) or mean > 700.0:  # e^700 is the end of float64: a perplexity could not be written
        raise RunError(f"step {state.step}: validation loss {mean:.4g}; the run diverged, lower the learning rate")
    record = ValidationRecord(
        step=state.step,
        epoch=state.step / order.steps_per_epoch,
        loss=mean,
        sequence_loss=total / len(losses),
        perplexity=math.exp(mean),
        bits_per_token=mean / math.log(2),
        tokens=tokens,
        sequences=len(losses),
    )
    loop.records.validation(record)
    loop.progress({"event": "validation", **record.model_dump()})
    return state.model_copy(update={"validation_loss": mean})


def _checkpoint(session: Session, loop: Loop, state: LoopState) -> LoopState:
    with loop.meter.phase("save"):
        state = state.model_copy(update={"costs": loop.meter.state()})
        loop.checkpoints.save(state, session.save)
    return state


def _resume(session: Session, loop: Loop) -> LoopState:
    """The last complete checkpoint, or the start; either way the records end where the state does."""
    found = loop.checkpoints.latest()
    if found is None:
        loop.records.rewind(step=0)
        return LoopState()
    state, folder = found
    session.load(folder)
    loop.records.rewind(step=state.step)
    loop.meter.restore(state.costs)
    if state.step:  # there is a checkpoint after `prepare` in every run
        loop.progress({"event": "resumed", "step": state.step})
    return state
