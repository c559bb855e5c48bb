"""The memory of a run by part, from a trace of its session over fake tensors.

A deep model is followed with two of its blocks and with three: what a block adds is the difference, and a peak of many
blocks is as much more at the same moment. That is taken only where the trained parameters, too, grow by the block, and
where what is highest is one and the same moment; else with three and four, and then all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_pre_hook

from tunelab.backends.torch.foresight.live import HEAD, STATE, TEMPORARY, Live
from tunelab.backends.torch.foresight.network import TracedSession, traced_session, trained
from tunelab.computation.effort import Effort, extended, sum_of
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.entries import Efforts, Parts
from tunelab.errors import ConfigError
from tunelab.kernels.linear_cross_entropy import TILE_NUMBERS
from tunelab.records import Batch, RowSize, TokenRow
from tunelab.training.step import take_step

DEPTHS = (("num_hidden_layers", "n_layer", "n_layers", "num_layers"), ("num_decoder_layers", "decoder_layers"))
"""Fields of configurations: how many blocks there are, and how many of the decoder where there is one of its own."""
BY_LAYER = ("layer_types",)
"""Lists with an entry a block."""
CUTS = ((2, 3), (3, 4))
"""Numbers of blocks; the second where the first will not do."""
NEGLIGIBLE = 0.01
"""Share of a peak."""
OF_ONE_BLOCK = (TEMPORARY, HEAD)
"""Parts that are as large with many blocks as with few."""


class Traced(NamedTuple):
    moments: dict[str, Parts]
    """What is alive at the highest instant of each moment."""
    losses: dict[str, Parts]
    """The same as `moments`, of losses without gradients."""
    weights: Parts
    state: int
    trained: int
    """Numbers."""
    efforts: dict[str, Effort]
    """Of each moment."""
    padded: bool


def traced(
    run: RunConfig, method: Method | None, configuration: Mapping[str, Any], batch: Batch, *, on_gpu: bool
) -> Traced:
    """Of two steps with this micro-batch; of the base, which is not trained, of losses alone."""
    depths = [next((key for key in keys if key in configuration), None) for keys in DEPTHS]
    known = {key: int(configuration[key]) for key in depths if key is not None and configuration[key]}
    deepest = max(known.values(), default=0)
    if deepest <= max(CUTS)[1] + 2 or len(set(known.values())) != 1:
        return _followed(run, method, dict(configuration), batch, on_gpu=on_gpu)
    num_trained = trained(run, method, dict(configuration)) if method is not None and method.trains else 0
    followed: dict[int, Traced] = {}
    for cut in CUTS:
        try:
            for number in cut:
                if number not in followed:
                    changed = _cut(configuration, known, number)
                    followed[number] = _followed(run, method, changed, batch, on_gpu=on_gpu)
        except ConfigError:  # a method that wants more blocks than these
            continue
        few, more = (Depth(number, followed[number]) for number in cut)
        whole = _extrapolated(few, more, deepest)
        found = _has_the_highest(whole.moments, more.found.moments) and _has_the_highest(
            whole.losses, more.found.losses
        )
        if whole.trained == num_trained and found:
            return whole
    return _followed(run, method, dict(configuration), batch, on_gpu=on_gpu)


def _cut(configuration: Mapping[str, Any], depths: Mapping[str, int], number: int) -> dict[str, Any]:
    cut = {**configuration, **dict.fromkeys(depths, number)}
    for key in BY_LAYER:
        if isinstance(cut.get(key), list):
            cut[key] = cut[key][-number:]
    return cut


class Depth(NamedTuple):
    number: int
    """Of blocks."""
    found: Traced


def _extrapolated(low_depth: Depth, high_depth: Depth, depth: int) -> Traced:
    (fewer, few), (higher, more) = low_depth, high_depth

    def line(low: int, high: int) -> int:
        return max(0, low + (high - low) * (depth - fewer) // (higher - fewer))

    def parts(low: Parts, high: Parts) -> Parts:
        return {
            name: high.get(name, 0) if name in OF_ONE_BLOCK else line(low.get(name, 0), high.get(name, 0))
            for name in low | high
        }

    def moments(low: dict[str, Parts], high: dict[str, Parts]) -> dict[str, Parts]:
        both = [name for name in low if name in high and _is_one_instant(low[name], high[name], higher / fewer)]
        return {name: parts(low[name], high[name]) for name in both}

    return Traced(
        moments(few.moments, more.moments),
        moments(few.losses, more.losses),
        parts(few.weights, more.weights),
        line(few.state, more.state),
        line(few.trained, more.trained),
        {
            name: extended(few.efforts[name], more.efforts[name], line)
            for name in few.efforts.keys() & more.efforts.keys()
        },
        few.padded,
    )


def _is_one_instant(low: Parts, high: Parts, ratio: float) -> bool:
    """Whether the parts of a peak may be the same sums of a constant and so much a block, not those of two instants."""
    little = NEGLIGIBLE * sum(high.values())

    def is_one(name: str, few: int, more: int) -> bool:
        if name in OF_ONE_BLOCK:
            return abs(more - few) <= little
        return 0.9 * few - little <= more <= 1.05 * few * ratio + little

    return all(is_one(name, low.get(name, 0), high.get(name, 0)) for name in low | high)


def _has_the_highest(whole: Mapping[str, Parts], of: Mapping[str, Parts]) -> bool:
    """Whether what is highest with few blocks is among what is known of many."""
    totals = {name: sum(parts.values()) for name, parts in of.items()}
    return not totals or any(name in whole for name, total in totals.items() if total == max(totals.values()))


def _followed(
    run: RunConfig, method: Method | None, configuration: dict[str, Any], batch: Batch, *, on_gpu: bool
) -> Traced:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with _as_on(on_gpu=on_gpu), torch.random.fork_rng(devices=[]):
        session = traced_session(run, method, configuration, mode, on_gpu=on_gpu)
        session.live = live = Live(mode, on_cpu=not on_gpu)
        with mode, live, _calls_counted(live):
            weights = _label_weights(live, session)
            fixed, count = live.alive(), len(live.events)
            trains = method is not None and method.trains
            if trains:
                session.fixed = fixed
                _train(session, batch, run)
            state = sum(live._sizes[serial] for serial in live.alive() if live.labels[serial] == STATE)
            moments = live.highest(fixed=count, holes=not on_gpu)
            before, live.moment = len(live.events), "losses"
            session.losses([batch])
            losses = live.highest(fixed=before)
        numbers = sum(each.numel() for each in session.model.parameters() if each.requires_grad)
    return Traced(moments, losses, weights, state, numbers, live.effort.efforts(), session.pads)


class _Steps:
    """The same micro-batch, step by step."""

    num_steps = 2

    def __init__(self, batch: Batch) -> None:
        self._rows = list(batch.rows)

    def step(self, number: int) -> list[TokenRow]:
        return self._rows


def _train(session: TracedSession, batch: Batch, run: RunConfig) -> None:
    session.restart()
    steps, wide = _Steps(batch), run.model_copy(update={"batch": run.batch.model_copy(update={"max_tokens": 2**31})})
    for number in range(1, steps.num_steps + 1):
        session.live.moment = f"step {number}"
        take_step(session, wide, steps, number, peak=1e-3)


@contextmanager
def _calls_counted(live: Live) -> Iterator[None]:
    """Of layers."""
    hook = register_module_forward_pre_hook(lambda module, given: live.called())
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _as_on(*, on_gpu: bool) -> Iterator[None]:
    """Fake tensors are a CPU's always: torch has no backward pass of a device that it was not built for. The blocks of
    a GPU are larger than a CPU's."""
    kept = dict(TILE_NUMBERS)
    if on_gpu:
        TILE_NUMBERS.clear()
    try:
        yield
    finally:
        TILE_NUMBERS.update(kept)


def _label_weights(live: Live, session: TracedSession) -> Parts:
    parameters = {id(each): each for each in session.model.parameters()}
    parts: dict[str, int] = {}
    for tensor in [*parameters.values(), *session.model.buffers()]:
        kind = str(tensor.dtype).removeprefix("torch.")
        label = f"weights, {'trained' if tensor.requires_grad else 'frozen'}, {kind}"
        seen = live.alive()
        if live.add(tensor, label) not in seen:
            parts[label] = parts.get(label, 0) + tensor.untyped_storage().nbytes()
    return parts


def highest(found: Mapping[str, Parts]) -> Parts:
    """The parts of the moment at which most is held."""
    return max(found.values(), key=lambda parts: sum(parts.values()), default={})


def efforts(found: Traced, rows: tuple[RowSize, ...]) -> Efforts:
    """The second step is as most steps are."""

    def joined(step: str, *, update: bool | None) -> Effort:
        moments = [name for name in found.efforts if name.startswith(step)]
        return sum_of(found.efforts[name] for name in moments if update is None or ("update" in name) == update)

    return Efforts(
        rows=rows,
        padded=found.padded,
        micro_batch=joined("step 2", update=False),
        update=joined("step 2", update=True),
        first=joined("step 1", update=None),
        losses=joined("losses", update=None),
    )
