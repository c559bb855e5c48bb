"""LISA: which blocks train when, what rests, what it holds, and what it equals when nothing rests."""

import gc
import itertools
from collections.abc import Iterator

import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import micro_batches
from tunelab.errors import ConfigError
from tunelab.methods.full import Full
from tunelab.methods.lisa import Lisa, blocks

KINDS = ["llama", "gpt2", "t5"]
METHOD = Lisa(layers=1, period=3, learning_rate=1e-2)


def of_step(session, number: int, *, max_tokens: int = 64) -> None:
    """Forward and backward of one step's micro-batches."""
    batches = micro_batches(tiny.rows(12, seed=number, pairs=session.pairs), max_tokens=max_tokens)
    for index, batch in enumerate(batches):
        session.accumulate(batch, denominator=100, last=index == len(batches) - 1)


def in_blocks(model) -> dict[str, int]:
    """Parameter name -> number of its block."""
    paths = enumerate(blocks(model))
    owner = {f"{path}.": index for index, path in paths}
    names = [name for name, _ in model.named_parameters()]
    return {name: index for name in names for path, index in owner.items() if name.startswith(path)}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("llama", ["model.layers.0", "model.layers.1"]),
        ("gpt2", ["transformer.h.0", "transformer.h.1"]),
        ("t5", ["encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"]),
    ],
)
def test_blocks_are_the_transformers(kind, wanted):
    assert list(blocks(tiny.model(kind))) == wanted


def test_draws_depend_on_seed_and_step_alone_and_meet_every_block_alike():
    method = Lisa(layers=2, period=5)
    draws = [method.drawn(step, seed=0, count=8) for step in range(1, 2001)]
    assert draws == [Lisa(layers=2, period=5).drawn(step, seed=0, count=8) for step in range(1, 2001)]
    assert draws != [method.drawn(step, seed=1, count=8) for step in range(1, 2001)]
    assert all(draws[step] == draws[step - step % 5] for step in range(2000))
    once = draws[::5]
    assert all(len(set(draw)) == 2 for draw in once)
    counts = [sum(block in draw for draw in once) for block in range(8)]
    assert all(abs(count - 100) < 35 for count in counts), counts  # 400 draws of 2 in 8: 100, deviation 8.7


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_drawn_blocks_and_what_lies_outside_move(kind):
    """With weight decay: what rests does not shrink either."""
    session = make_session(METHOD, tiny.model(kind), optimizer={"weight_decay": 0.1})
    owner, seen = in_blocks(session.model), set()
    for step in range(1, 13):
        drawn = METHOD.drawn(step, seed=0, count=len(blocks(session.model)))
        before = {name: value.detach().clone() for name, value in session.model.named_parameters()}
        of_step(session, step)
        session.update(learning_rate=1e-2, max_norm=0.5)
        moved = {name for name, value in session.model.named_parameters() if not value.equal(before[name])}
        assert moved == {name for name in before if owner.get(name, drawn[0]) in drawn}, step
        seen |= set(drawn)
    assert len(seen) > 1, "the draw never changed"


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_is_computed_for_what_rests(kind):
    session = make_session(METHOD, tiny.model(kind))
    owner, computed = in_blocks(session.model), set()
    for name, parameter in session.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: computed.add(name))
    for step in range(1, 8):
        computed.clear()
        of_step(session, step)
        (drawn,) = METHOD.drawn(step, seed=0, count=len(blocks(session.model)))
        assert computed == {name for name, _ in session.model.named_parameters() if owner.get(name, drawn) == drawn}
        gradients = [p.grad.flatten() for p in session.model.parameters() if p.grad is not None]
        assert session.gradient_norm() == pytest.approx(float(torch.cat(gradients).norm()), rel=1e-5)
        session.update(learning_rate=1e-2, max_norm=None)


@pytest.fixture
def nothing_older() -> Iterator[None]:
    """`live_bytes` then sees what was made after this alone, and need not look through everything else."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live_bytes() -> int:
    """Of all storages that a Python tensor, or a parameter's gradient, holds."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    tensors += [thing.grad for thing in tensors if thing.is_leaf and thing.grad is not None]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.parametrize("method", [METHOD, Full(learning_rate=1e-2)], ids=["lisa", "full"])
def test_live_bytes_are_those_of_what_trains_now(method, nothing_older):
    """Beside the weights: four bytes a weight for the gradient and eight for AdamW's moments, of one block in six and
    of what lies outside; full fine-tuning holds them for all. Steps' counters are the only other thing."""
    session = make_session(method, tiny.model("llama", num_hidden_layers=6))
    parameters, owner = dict(session.model.named_parameters()), in_blocks(session.model)
    outside = sum(value.numel() for name, value in parameters.items() if name not in owner)
    block = (sum(value.numel() for value in parameters.values()) - outside) // 6
    training = outside + (block if method is METHOD else 6 * block)
    assert block > outside, "little would be saved in this model"
    start, drawn_before, counters = live_bytes(), [], 4 * len(parameters)
    for step in range(1, 11):
        of_step(session, step)
        drawn = METHOD.drawn(step, seed=0, count=6) if method is METHOD else [0]
        kept = training if drawn == drawn_before else outside  # a block that begins has no moments yet
        moments = kept if step > 1 else 0
        held = live_bytes() - start
        assert 0 <= held - 4 * training - 8 * moments <= counters, f"gradients and moments of step {step}"
        session.update(learning_rate=1e-2, max_norm=None)
        drawn_before = drawn
        assert 0 <= live_bytes() - start - 8 * training <= counters, f"moments after step {step}"


@pytest.mark.parametrize("kind", KINDS)
def test_with_every_block_at_a_time_it_is_full_fine_tuning(kind):
    count = len(blocks(tiny.model(kind)))
    settings = {"optimizer": {"weight_decay": 0.1, "clip": 0.5}, "budget": {"steps": 9}}
    rows = tiny.rows(12, pairs=kind == "t5")
    one = run_training(Lisa(layers=count, period=2, learning_rate=1e-3), tiny.model(kind), rows, **settings)
    other = run_training(Full(learning_rate=1e-3), tiny.model(kind), rows, **settings)
    assert one.records.losses == other.records.losses
    for (name, value), (_, wanted) in zip(one.model.named_parameters(), other.model.named_parameters(), strict=True):
        assert value.equal(wanted), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("stop", [2, 3, 4, 6, 10])
def test_resumed_at_and_around_a_change_of_blocks_equals_not_stopped(kind, stop, tmp_path):
    rows, settings = tiny.rows(20, pairs=kind == "t5"), {"checkpoint": {"seconds": 0}, "budget": {"steps": 11}}
    count = len(blocks(tiny.model(kind)))
    draws = [METHOD.drawn(step, seed=0, count=count) for step in (1, 4, 7, 10)]
    assert any(one != other for one, other in itertools.pairwise(draws))
    whole = run_training(METHOD, tiny.model(kind), rows, folder=tmp_path / "whole", **settings)
    records = Records()
    settings |= {"folder": tmp_path / "cut", "records": records}
    with pytest.raises(Stopped):
        run_training(METHOD, tiny.model(kind), rows, stop_after=stop, **settings)
    resumed = run_training(METHOD, tiny.model(kind), rows, **settings)
    assert resumed.records.losses == whole.records.losses
    for (name, value), (_, other) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert value.equal(other), name


def test_in_bf16_resting_blocks_stay_in_fp32():
    """A weight that has moved and rests would lose its small updates in bf16."""
    trained = run_training(METHOD, tiny.model("llama"), tiny.rows(12), precision="bf16", budget={"steps": 7})
    assert {parameter.dtype for parameter in trained.model.parameters()} == {torch.float32}


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="layers: 3 at a time of a model with 2 blocks; give at most 2"):
        Lisa(layers=3).attach(tiny.model("llama"), seed=0)
