"""The memory of a run's training, from a trace of its session over fake tensors."""

from __future__ import annotations

from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from tunelab.backends.torch.foresight.live import GRADIENTS, STATE, Live, Peak, highest
from tunelab.backends.torch.foresight.network import TracedSession, traced_session
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.records import Batch


def trained_peak(
    run: RunConfig, method: Method, configuration: dict[str, Any], batches: tuple[Batch, ...]
) -> Peak:
    """Of two steps with these micro-batches."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    session = traced_session(run, method, configuration, mode)
    session.live = live = Live()
    with mode, live:
        fixed = _label_weights(live, session)
        session.restart()
        start = len(live.events)
        for _ in range(2):
            for number, batch in enumerate(batches, 1):
                session.accumulate(batch, denominator=1.0, last=number == len(batches))
                live.settle((live.add(each.grad) for each in session.model.parameters() if each.grad is not None), GRADIENTS)
            session._rule.gradient_norm()
            session.update(learning_rate=1e-3, max_norm=run.optimizer.clip)
            live.settle(live.alive() - fixed, STATE)
    return highest(live.events, live.labels, start=start)


def _label_weights(live: Live, session: TracedSession) -> set[int]:
    parameters = {id(each): each for each in session.model.parameters()}
    serials = set()
    for tensor in [*parameters.values(), *session.model.buffers()]:
        kind = str(tensor.dtype).removeprefix("torch.")
        serials.add(live.add(tensor, f"trained weights, {kind}" if tensor.requires_grad else f"frozen weights, {kind}"))
    return serials
