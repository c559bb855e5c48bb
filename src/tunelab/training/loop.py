"""The only training loop. It drives a Session, names no method and imports no framework.

A step is a set of examples. It is cut into micro-batches only to be executed; its loss is the sum of token losses
over the supervised tokens of the whole step, so how it is cut changes no gradient.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.data.tokens.batching import Order, micro_batches
from tunelab.errors import Diverged, Stopped
from tunelab.records import StepRecord, TokenRow, ValidationRecord
from tunelab.training.state import Checkpoints, LoopState
from tunelab.training.step import run_order, take_step
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
    stop: Callable[[], bool] = lambda: False  # asked after every step


def train(session: Session, loop: Loop) -> LoopState:
    """Train from the last checkpoint (or the start) to the end of the budget.

    Raises:
        Diverged: the loss or the gradient norm is not finite; nothing after it would mean anything.
        Stopped: `loop.stop` said so; there is a checkpoint of the last step.
    """
    run, meter = loop.run, loop.meter
    order = run_order(run, loop.rows)
    validation_every = max(1, round(run.validation.every * order.steps_per_epoch))
    state = _resume(session, loop, order)
    with meter.phase("train"):
        loop.progress({"event": "train", "step": state.step, "num_steps": order.num_steps})
        while state.step < order.num_steps:
            _enter(session, loop, order, number=state.step + 1)
            state = _step(session, loop, order, state)
            if state.step % validation_every == 0 or state.step == order.num_steps:
                state = _validate(session, loop, order, state)
            stop = loop.stop()
            if stop or state.step == order.num_steps or loop.checkpoints.due():
                state = _checkpoint(session, loop, state)
            if stop:
                raise Stopped(f"it was stopped after step {state.step} of {order.num_steps}, which is its checkpoint")
    return _with_best(session, loop, order, state)


def _enter(session: Session, loop: Loop, order: Order, *, number: int, resumed: bool = False) -> None:
    """Where a method of several parts begins another one at this step, that costs time and memory of its own."""
    part = session.part_at(number, order.num_steps)
    if part != session.part:
        with loop.meter.phase("prepare"):
            session.enter(part, order, resumed=resumed)


def _step(session: Session, loop: Loop, order: Order, state: LoopState) -> LoopState:
    number, began = state.step + 1, time.perf_counter()
    taken = take_step(session, loop.run, order, number, peak=loop.peak_learning_rate * session.rate())
    seconds = time.perf_counter() - began
    ema = EMA_DECAY * state.ema + (1 - EMA_DECAY) * taken.loss
    record = StepRecord(
        step=number,
        **taken._asdict(),
        seconds=seconds,
        ema_loss=ema / (1 - EMA_DECAY**number),
        tokens_per_second=taken.num_tokens / seconds,
        num_kernels=session.num_kernels(),
    )
    loop.records.step(record)
    loop.progress({"event": "step", "num_steps": order.num_steps, **record.model_dump()})
    return state.model_copy(
        update={
            "step": number,
            "ema": ema,
            "num_tokens": state.num_tokens + taken.num_tokens,
            "num_supervised_tokens": state.num_supervised_tokens + taken.num_supervised_tokens,
        }
    )


def _validate(session: Session, loop: Loop, order: Order, state: LoopState) -> LoopState:
    if not loop.validation_rows:
        return state
    with loop.meter.phase("validate"):
        record = validate(
            session,
            loop.validation_rows,
            max_tokens=loop.run.batch.max_tokens,
            step=state.step,
            epoch=state.step / order.steps_per_epoch,
        )
    loop.records.validation(record)
    loop.progress({"event": "validation", **record.model_dump()})
    return _keep(session, loop, order, state.model_copy(update={"validation_loss": record.loss}))


def _keep(session: Session, loop: Loop, order: Order, state: LoopState) -> LoopState:
    """With `validation.keep: best`, write the weights of the lowest loss so far. Of a method of several parts the last
    one's passes count alone: before it, what trains is not yet that method's result."""
    loss, lowest = state.validation_loss, state.kept_loss
    last_part = session.part_at(order.num_steps, order.num_steps)
    lower = loss is not None and (lowest is None or loss < lowest)
    if loop.run.validation.keep == "last" or session.part != last_part or not lower:
        return state
    if state.step < order.num_steps:  # after the last step they are where they are wanted
        with loop.meter.phase("save"):
            loop.checkpoints.keep(state.step, session.write_model)
    return state.model_copy(update={"kept_step": state.step, "kept_loss": loss})


def _with_best(session: Session, loop: Loop, order: Order, state: LoopState) -> LoopState:
    """At the end: the kept weights and their loss, where that is asked for."""
    if state.kept_step is None:
        return state
    if state.kept_step < order.num_steps:
        with loop.meter.phase("save"):
            session.read_model(loop.checkpoints.kept(state.kept_step))
    return state.model_copy(update={"validation_loss": state.kept_loss})


def validate(
    session: Session, rows: Sequence[TokenRow], *, max_tokens: int, step: int = 0, epoch: float = 0.0
) -> ValidationRecord:
    """Losses of the model as it is, on at least one row.

    Raises:
        Diverged: the loss is not finite, or too large for a perplexity.
    """
    losses = session.evaluate(micro_batches(rows, max_tokens=max_tokens, padded=session.pads))
    tokens, total = sum(loss.num_tokens for loss in losses), math.fsum(loss.loss_sum for loss in losses)
    mean = total / tokens
    if not math.isfinite(mean) or mean > 700.0:  # e^700 is the end of float64: a perplexity could not be written
        message = f"step {step}: validation loss {mean:.4g}; the run diverged, lower the learning rate"
        raise Diverged(message, step=step)
    return ValidationRecord(
        step=step,
        epoch=epoch,
        loss=mean,
        sequence_loss=total / len(losses),
        perplexity=math.exp(mean),
        bits_per_token=mean / math.log(2),
        tokens=tokens,
        sequences=len(losses),
    )


def _checkpoint(session: Session, loop: Loop, state: LoopState) -> LoopState:
    with loop.meter.phase("save"):
        state = state.model_copy(update={"costs": loop.meter.state()})
        loop.checkpoints.save(state, session.save)
    return state


def _resume(session: Session, loop: Loop, order: Order) -> LoopState:
    """The last complete checkpoint, or the start; either way the records end where the state does."""
    found = loop.checkpoints.latest()
    if found is None:
        loop.records.rewind(step=0)
        return LoopState()
    state, folder = found
    _enter(session, loop, order, number=max(state.step, 1), resumed=True)
    session.load(folder)
    loop.records.rewind(step=state.step)
    loop.meter.restore(state.costs)
    if state.step:  # there is a checkpoint after `prepare` in every run
        loop.progress({"event": "resumed", "step": state.step})
    return state
