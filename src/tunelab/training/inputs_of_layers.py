"""Factors that start from what the layers of the untouched model are given."""

from __future__ import annotations

from tunelab.backend_contract import Order, Session
from tunelab.kernels.sparse import in_passes
from tunelab.records import Batch
from tunelab.training.whole_gradients import AT_ONCE, first_examples


def start_from_inputs(session: Session, order: Order, *, examples: int | None) -> None:
    """Before step 1: every adapted layer's A from its inputs over single examples, all their tokens. As many layers at
    a time as fit; each pass sees the same examples."""
    from tunelab.kernels.adapted_linear import adapted_layers
    from tunelab.kernels.principal import inputs_seen, start_from_components

    rows = first_examples(order, number=1, examples=examples)
    for group in in_passes(adapted_layers(session.model), limit=AT_ONCE):
        with inputs_seen(group) as seen:
            for row in rows:
                session.evaluate([Batch((row,))])
        start_from_components(group, seen)
    session.restart()
