"""Gradients of whole weight matrices that are not trained, layer by layer, and factors that start from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tunelab.backend_contract import Order, Session
from tunelab.config.run import RunConfig
from tunelab.kernels.sparse import Score, Scores, in_passes
from tunelab.records import Batch, TokenRow
from tunelab.training.step import accumulate, settle_scale

if TYPE_CHECKING:
    from tunelab.kernels.adapted_linear import AdaptedLinear
    from tunelab.kernels.adapters import Init

AT_ONCE = 2**31
"""Entries of all gradients that are held at a time (8 GiB); a larger model is gone through several times."""


def whole_gradients(
    session: Session,
    run: RunConfig,
    order: Order,
    layers: Mapping[str, AdaptedLinear],
    *,
    number: int,
    examples: int | None,
    score: Score,
) -> Iterator[tuple[str, Scores]]:
    """Of single examples, each its own mean token loss: what `score` makes of them, layer after layer, fp32 on the CPU.
    As many layers at a time as fit; each pass sees the same examples.

    Args:
        number: the step whose examples come first.
        examples: how many; None: those of one step.
    """
    rows = first_examples(order, number=number, examples=examples)
    for index, row in enumerate(rows):
        settle_scale(session, [Batch((row,))], key=(run.seed, number, index))
    for group in in_passes(layers, limit=AT_ONCE):
        scale = session.loss_scale or 1.0
        scores = {name: Scores(layer.shape, score, scale=scale) for name, layer in group.items()}
        for name, layer in group.items():
            layer.collect = scores[name].add
        for index, row in enumerate(rows):
            accumulate(session, [Batch((row,))], key=(run.seed, number, index))
        for layer in group.values():
            layer.collect = None
        while scores:
            name = next(iter(scores))
            yield name, scores.pop(name)


def first_examples(order: Order, *, number: int, examples: int | None) -> list[TokenRow]:
    """So many from that step on; None: those of one step."""
    rows, last = list(order.step(number)), number
    while examples is not None and len(rows) < examples:
        last += 1
        rows += order.step(last)
    return rows[:examples]


def start_from_gradients(
    session: Session, run: RunConfig, order: Order, *, init: Init, gamma: float, examples: int | None
) -> None:
    """Before step 1: every adapted layer's factors from the gradient of its weight in the untouched model."""
    from tunelab.kernels.adapted_linear import adapted_layers
    from tunelab.kernels.adapters import gradient_start, put_start

    layers = adapted_layers(session.model)
    found = whole_gradients(session, run, order, layers, number=1, examples=examples, score="mean")
    starts = {
        name: gradient_start(scores.total_OI, rank=len(layers[name].factors.a_RI), init=init, gamma=gamma)
        for name, scores in found
    }
    for name, start in starts.items():
        put_start(layers[name], start)
    session.model.zero_grad(set_to_none=True)
    session.restart()
