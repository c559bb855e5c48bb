"""One optimizer step: the examples of a step, cut into micro-batches, and the update that follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tunelab.backend_contract import Order, Session
from tunelab.config.run import RunConfig
from tunelab.data.tokens import batching
from tunelab.errors import Diverged
from tunelab.records import Batch, TokenRow
from tunelab.training.schedule import learning_rate


class Accumulated(NamedTuple):
    """What was added to the gradients."""

    loss: float
    """Mean over supervised tokens, in nats."""
    num_tokens: int
    num_supervised: int


class Taken(NamedTuple):
    """One optimizer step."""

    loss: float
    num_tokens: int
    num_supervised: int
    grad_norm: float
    learning_rate: float


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
    return Accumulated(loss_sum / denominator, num_tokens, num_supervised)


def take_step(session: Session, run: RunConfig, order: Order, number: int, *, peak: float) -> Taken:
    """Step `number` of the run, counted from 1: its examples, its learning rate, the run's clipping.

    Raises:
        Diverged: the loss or the gradient norm is not finite; nothing after it would mean anything.
        RunError: a gradient that is looked at is not finite.
    """
    rows, most = order.step(number), run.batch.max_tokens
    shares = batching.ranks_batches(rows, max_tokens=most, num_ranks=session.num_ranks, padded=session.pads)
    done = _accumulate(session, shares, key=(run.seed, number))
    norm = session.gradient_norm()
    rate = learning_rate(number, peak=peak, schedule=run.schedule, num_steps=order.num_steps)
    if not (math.isfinite(done.loss) and math.isfinite(norm)):
        raise Diverged(
            f"step {number}: loss {done.loss:.4g}, gradient norm {norm:.4g} at learning rate {rate:.3g}; the run "
            "diverged, a lower learning rate or a longer warm-up usually helps",
            step=number,
        )
    session.update(learning_rate=rate, max_norm=run.optimizer.clip)
    return Taken(*done, grad_norm=norm, learning_rate=rate)
