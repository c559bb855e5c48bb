"""One method after the other in one run: against doing it by hand, across the change of part, and refused options."""

import pytest
import torch
from pydantic import ValidationError

import tiny
from training_harness import NoMemory, Records, Stopped, make_session, run_training
from tunelab.config.schema import Budget
from tunelab.data.tokens.batching import Order
from tunelab.errors import ConfigError
from tunelab.records import Batch
from tunelab.study.executing.verified import verified_rows
from tunelab.study.planning.plan import build_method
from tunelab.training.loop import Loop, train
from tunelab.training.state import Checkpoints, LoopState
from tunelab.training.telemetry import Meter

RATE = 1e-2


def sequential(*parts, **options):
    entries = [part if isinstance(part, dict) else {part: {"learning_rate": RATE}} for part in parts]
    return build_method("sequential", {"parts": entries, "learning_rate": RATE, **options})


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_full_then_lora_equals_the_two_by_hand(kind):
    rows = tiny.rows(20, pairs=kind == "t5")
    whole = run_training(sequential("full", "lora", shares=[0.6, 0.4]), tiny.model(kind), rows, budget={"steps": 10})
    order = Order(rows, seed=0, examples=6, budget=Budget(steps=10))
    losses, model = [], tiny.model(kind)
    for name, numbers in (("full", range(1, 7)), ("lora", range(7, 11))):
        session = make_session(build_method(name, {"learning_rate": RATE}), model)
        session.verify(verified_rows(rows))
        for number in numbers:
            batch = tiny_batch(order, number)
            session.seed(0, number, 0)
            loss = float(session.accumulate(batch, denominator=batch.num_supervised, last=True))
            losses.append(loss / batch.num_supervised)
            session.update(learning_rate=RATE, max_norm=1.0)
        model = session.method.merged(session.model)
    assert whole.records.losses == losses
    merged = weights(whole.session.method.merged(whole.model))
    assert all(value.equal(merged[name]) for name, value in weights(model).items())


def tiny_batch(order, number):
    from tunelab.data.tokens.batching import micro_batches

    (batch,) = micro_batches(order.step(number), max_tokens=4096)
    return batch


def test_each_part_leaves_the_layers_of_the_other_alone():
    """Attention by one adapter, then the rest by another: embeddings and norms never move."""
    parts = [{"lora": {"targets": targets, "learning_rate": RATE}} for targets in ("attention", r".*mlp.*")]
    start = weights(tiny.model("llama"))
    trained = run_training(sequential(*parts), tiny.model("llama"), tiny.rows(20), budget={"steps": 10})
    after = weights(trained.session.method.merged(trained.model))
    moved = {name for name, value in start.items() if not value.equal(after[name])}
    assert moved == {name for name in start if "_proj.weight" in name}


def test_each_part_learns_at_its_own_rate():
    parts = [{"full": {"learning_rate": 1e-3}}, {"lora": {"learning_rate": 1e-2}}]
    method = sequential(*parts, learning_rate=2e-3)
    records = run_training(method, tiny.model("llama"), tiny.rows(20), budget={"steps": 4}).records
    assert [step.learning_rate for step in records.steps] == pytest.approx([2e-3, 2e-3, 2e-2, 2e-2])


def test_the_optimizer_of_every_part_is_described():
    trained = run_training(sequential("full", "lora"), tiny.model("llama"), tiny.rows(20), budget={"steps": 4})
    described = trained.session.optimizer()
    full = sum(value.numel() for value in tiny.model("llama").parameters())
    lora = sum(value.numel() for value in trained.model.parameters() if value.requires_grad)
    assert sum(group["parameters"] for group in described) == full + lora
    assert trained.session.parameters().trainable == full, "of the part with the most"


@pytest.mark.slow
@pytest.mark.parametrize("parts", [("full", "lora"), ("lora", "full"), ("lora", "lora", "full"), ("full", "rosa")])
@pytest.mark.parametrize("stop", [3, 4, 5, 9, 11])
def test_resumed_equals_not_stopped_on_either_side_of_a_change(parts, stop, tmp_path):
    """Of 12 steps two parts change after 6 or after 4, three after 4 and 8."""
    shares = [1 / 3, 2 / 3] if len(parts) == 2 else [1 / 3] * 3
    method, rows = sequential(*parts, shares=shares), tiny.rows(20)
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 12}}
    whole = run_training(method, tiny.model("llama"), rows, **settings)
    records = Records()
    with pytest.raises(Stopped):
        run_training(method, tiny.model("llama"), rows, folder=tmp_path, records=records, stop_after=stop, **settings)
    resumed = run_training(method, tiny.model("llama"), rows, folder=tmp_path, records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    assert resumed.session.optimizer() == whole.session.optimizer()
    for (name, value), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert value.equal(other), name


def test_hooks_of_the_updater_before_are_gone_and_tied_weights_stay_tied():
    """GaLore updates in hooks on gradients; a later part trains the same weights by a rule of its own."""
    session = make_session(sequential("full", "full"), tiny.model("llama"))
    called = []
    for parameter in session.model.parameters():
        parameter.register_post_accumulate_grad_hook(called.append)
    session.enter(1, Order(tiny.rows(20), seed=0, examples=6, budget=Budget(steps=4)))
    batch = tiny_batch(Order(tiny.rows(20), seed=0, examples=6, budget=Budget(steps=4)), 3)
    session.accumulate(batch, denominator=1, last=True)
    assert session.gradient_norm() > 0 and called == []
    assert session.model.lm_head.weight is session.model.model.embed_tokens.weight


def test_in_bf16_products_trained_weights_are_fp32_in_every_part():
    method = sequential("lora", "full")
    session = make_session(method, tiny.model("llama"), precision="bf16")
    assert session.model.model.layers[0].mlp.up_proj.base.weight.dtype == torch.bfloat16
    session.enter(1, Order(tiny.rows(20), seed=0, examples=6, budget=Budget(steps=4)))
    assert {value.dtype for value in session.model.parameters()} == {torch.float32}


def test_what_was_trained_in_bf16_products_is_read_again_in_fp32(tmp_path):
    rows, method = tiny.rows(6), sequential("full", "lora")
    run_training(method, tiny.model("llama"), rows, budget={"steps": 2}, precision="bf16").session.write_model(tmp_path)
    again = make_session(method, tiny.model("llama"))
    again.read_model(tmp_path)
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.float32}
    (loss,) = again.evaluate([Batch((rows[0],))])
    assert loss.loss_sum > 0


def test_a_part_of_0_steps_is_refused_before_step_1():
    session = make_session(sequential("full", "lora", shares=[0.9, 0.1]), tiny.model("llama"))
    order = Order(tiny.rows(20), seed=0, examples=6, budget=Budget(steps=3))
    with pytest.raises(ConfigError, match="of 3 steps the parts would end at 3, 3"):
        session.method.prepare(session, order, session.run)
    session.method.prepare(session, Order(tiny.rows(20), seed=0, examples=6, budget=Budget(steps=10)), session.run)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"shares": [1.0, 0.0]}, "greater than 0"),
        ({"shares": [0.5, 0.4]}, "must add up to 1"),
        ({"shares": [0.5, 0.3, 0.2]}, "give one a part"),
    ],
)
def test_shares_that_do_not_fit_are_refused(options, rule):
    with pytest.raises(ValidationError, match=rule):
        sequential("full", "lora", **options)


def test_one_part_is_no_sequence():
    with pytest.raises(ValidationError, match="at least 2"):
        sequential("full")


def test_the_change_of_part_is_timed_apart(tmp_path):
    session = make_session(sequential("full", "lora"), tiny.model("llama"), budget={"steps": 4})
    meter = Meter(NoMemory())
    loop = Loop(
        run=session.run,
        peak_learning_rate=RATE,
        rows=tiny.rows(20),
        validation_rows=[],
        records=Records(),
        checkpoints=Checkpoints(tmp_path, seconds=1e9),
        meter=meter,
        progress=lambda event: None,
    )
    assert train(session, loop).step == 4
    assert isinstance(loop.checkpoints.latest()[0], LoopState)
    assert meter.costs()["prepare"].seconds > 0
