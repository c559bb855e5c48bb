"""One optimizer step: the examples of a step, cut into micro-batches, and the update that follows.

A step that memory runs out for is begun again in smaller micro-batches, which changes no gradient. Of fp16 a step
whose gradients overflow is left out (training/narrow/loss_scale.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, SupportsFloat

from tunelab.backend_contract import Order, Session
from tunelab.config.run import RunConfig
from tunelab.data.tokens import batching
from tunelab.errors import Diverged, NoMemory, OutOfMemory
from tunelab.records import Batch, TokenRow
from tunelab.training.narrow.loss_scale import LOWEST
from tunelab.training.schedule import learning_rate


class Accumulated(NamedTuple):
    """What was added to the gradients."""

    loss_sum: SupportsFloat
    """In nats; to read it means to wait for the device."""
    num_tokens: int
    num_supervised: int

    @property
    def loss(self) -> float:
        """Mean over supervised tokens."""
        return float(self.loss_sum) / max(self.num_supervised, 1)


class Taken(NamedTuple):
    """One optimizer step."""

    loss: float
    """Mean over supervised tokens, in nats."""
    num_tokens: int
    num_supervised_tokens: int
    grad_norm: float | None
    """None: not finite, and the step was skipped."""
    learning_rate: float
    loss_scale: float | None
    """None: not of fp16."""
    max_tokens: int | None
    """None: micro-batches are as large as the run says."""


def run_order(run: RunConfig, rows: Sequence[TokenRow]) -> batching.Order:
    """The steps of a run: a function of rows, seed, batch and budget alone."""
    return batching.Order(rows, seed=run.seed, examples=run.batch.examples, budget=run.budget)


def accumulate(session: Session, batches: Sequence[Batch], *, key: tuple[int, ...]) -> Accumulated:
    """Add the gradient of the mean loss over the supervised tokens of all `batches`; random draws follow `key`."""
    return _accumulate(session, [batches], key=key)


def _accumulate(session: Session, shares: Sequence[Sequence[Batch]], *, key: tuple[int, ...]) -> Accumulated:
    """The same of micro-batches of which each rank has a share.

    Where the session wants to look at the whole step first, it is given the same batches with the same draws as often
    as it asks; they count once.
    """
    batches = [batch for share in shares for batch in share]
    num_supervised = sum(batch.num_supervised for batch in batches)
    num_tokens = sum(batch.num_tokens for batch in batches)
    denominator = max(num_supervised, 1)
    while session.wants_look(num_batches=len(batches)):
        with session.look():
            session.accumulate_shares(shares, denominator=denominator, key=key)
    loss_sum = session.accumulate_shares(shares, denominator=denominator, key=key)
    return Accumulated(loss_sum, num_tokens, num_supervised)


def settle_scale(session: Session, batches: Sequence[Batch], *, key: tuple[int, ...]) -> None:
    """Of fp16: lower the loss scale until no gradient of these batches overflows, for what reads gradients while they
    are made and cannot be left out afterwards. They count for nothing.

    Raises:
        Diverged: they overflow without a scale.
    """
    while session.loss_scale is not None:
        loss, norm = accumulate(session, batches, key=key).loss, session.gradient_norm()
        if math.isfinite(loss) and math.isfinite(norm):
            session.forget()
            return
        if not math.isfinite(loss) or session.loss_scale <= LOWEST:
            raise Diverged(_why(key[1], loss, norm, 0.0, session.loss_scale), step=key[1])
        session.skip()


def _whole_step(session: Session, run: RunConfig, rows: Sequence[TokenRow], *, key: tuple[int, ...]) -> Accumulated:
    """All of a step, in micro-batches of half the size whenever memory runs out; they stay that small.

    Raises:
        NoMemory: memory ran out for one row alone.
    """
    while True:
        most = session.most_tokens or run.batch.max_tokens
        shares = batching.ranks_batches(rows, max_tokens=most, num_ranks=session.num_ranks, padded=session.pads)
        try:
            return _accumulate(session, shares, key=key)
        except OutOfMemory:
            pass  # what the failed pass held is free only outside of here
        session.forget()
        longest = max(row.num_tokens for row in rows)
        if most <= longest:
            raise NoMemory(
                f"memory ran out while one row of {longest} tokens was trained; lower batch.max_length, or set "
                "activation_checkpointing: true"
            )
        session.most_tokens = max(most // 2, longest)


def take_step(session: Session, run: RunConfig, order: Order, number: int, *, peak: float) -> Taken:
    """Step `number` of the run, counted from 1: its examples, its learning rate, the run's clipping.

    Raises:
        Diverged: the loss or the gradient norm is not finite; nothing after it would mean anything.
        RunError: a gradient that is looked at is not finite; memory ran out for one row (NoMemory).
    """
    scale = session.loss_scale
    done = _whole_step(session, run, order.step(number), key=(run.seed, number))
    norm, loss = session.gradient_norm(), done.loss
    rate = learning_rate(number, peak=peak, schedule=run.schedule, num_steps=order.num_steps)
    skipped = not math.isfinite(norm)
    if not math.isfinite(loss) or (skipped and (scale is None or scale <= LOWEST)):
        raise Diverged(_why(number, loss, norm, rate, scale), step=number)
    if skipped:
        session.skip()
    else:
        session.update(learning_rate=rate, max_norm=run.optimizer.clip)
    return Taken(
        loss,
        done.num_tokens,
        done.num_supervised,
        grad_norm=None if skipped else norm,
        learning_rate=rate,
        loss_scale=scale,
        max_tokens=session.most_tokens,
    )


def _why(number: int, loss: float, norm: float, rate: float, scale: float | None) -> str:
    """Of a step that ends the run."""
    found = f"step {number}: loss {loss:.4g}, gradient norm {norm:.4g} at learning rate {rate:.3g}"
    way = "the run diverged, a lower learning rate or a longer warm-up usually helps"
    if scale is None:
        return f"{found}; {way}"
    if math.isfinite(loss):
        return f"{found}, with the loss scale at its lowest, {scale:g}; {way}"
    return f"{found}; {way}. Or the model's values are larger than fp16 holds (65,504), which precision fp32 or bf16 do"
