"""Every file in methods/ keeps the contract. A new file is tested here the moment it exists."""

import copy
import re

import pytest
import torch
from pydantic import ValidationError

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab import catalogue
from tunelab.backend_contract import Session
from tunelab.backends.torch.session import TorchSession
from tunelab.data.tokens.batching import Order, micro_batches
from tunelab.study.planning.plan import build_method

METHODS = [name for name in catalogue.names("methods") if catalogue.load("methods", name).trains]
"""What is made of finished runs has tests of its own: tests/contracts/test_methods_made_of_runs.py."""
MODELS = ["llama", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gpt2", "t5"))]
pytestmark = pytest.mark.parametrize("name", METHODS)


def build(name: str, **options):
    cls = catalogue.load("methods", name)
    return build_method(name, {"learning_rate": 1e-2, **cls.example(), **options})


def rows_for(kind: str, count: int = 12):
    return tiny.rows(count, pairs=kind == "t5")


def logits(model, kind: str) -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


@pytest.mark.parametrize("kind", MODELS)
def test_loss_falls(name, kind):
    losses = run_training(build(name), tiny.model(kind), rows_for(kind), budget={"steps": 30}).records.losses
    assert sum(losses[-4:]) < 0.97 * sum(losses[:4]), losses


@pytest.mark.parametrize("kind", MODELS)
def test_only_declared_parameters_move_and_the_base_stays_bit_identical(name, kind):
    base = tiny.model(kind)
    before = {key: value.detach().clone() for key, value in base.named_parameters()}
    session = run_training(build(name), base, rows_for(kind), budget={"steps": 4}).session
    trained = {key for key, parameter in session.model.named_parameters() if parameter.requires_grad}
    fresh = make_session(build(name), tiny.model(kind))
    trained |= {key for key, parameter in fresh.model.named_parameters() if parameter.requires_grad}
    fresh.enter(session.part, Order(rows_for(kind), seed=0, examples=6, budget=fresh.run.budget), resumed=True)
    after = {plain_name(key): value for key, value in session.model.named_parameters()}
    held = quantised(session.model)
    assert not held or build(name).base_storage != "float"
    assert set(before) - set(after) == {key for key in held if key in before}, "a base parameter is gone"
    assert [key for key in set(before) & set(after) - trained if not before[key].equal(after[key])] == []
    assert trained, "nothing is trained"
    start = dict(fresh.model.named_parameters())
    ended = session.model.named_parameters()
    moved = [plain_name(key) for key, value in ended if not value.equal(start[key])]
    assert set(moved) <= trained
    assert len(moved) > 0.5 * len(trained), "most declared parameters should have moved"
    start, state = quantised(fresh.model), build(name).state(session.model)
    assert [key for key, value in held.items() if key not in state and not same(value, start[key])] == []


def plain_name(key: str) -> str:
    """As the untouched model has it."""
    return re.sub(r"\.base(_layer)?\.", ".", key)


def quantised(model) -> dict[str, dict[str, torch.Tensor]]:
    """'path.weight', as it was before -> the buffers that hold it."""
    layers = {key: layer for key, layer in model.named_modules() if hasattr(layer, "quantised_weights")}
    return {f"{key.removesuffix('.base')}.weight": dict(layer.named_buffers()) for key, layer in layers.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(value.equal(other[key]) for key, value in one.items())


@pytest.mark.parametrize("kind", MODELS)
def test_saved_and_loaded_gives_the_same_logits(name, kind, tmp_path):
    method = build(name)
    model = run_training(method, tiny.model(kind), rows_for(kind), budget={"steps": 4}).model
    method.save(model, tmp_path)
    loaded = method.attach(tiny.model(kind), seed=5)
    method.load(loaded, tmp_path)
    assert logits(model, kind).equal(logits(loaded, kind))


@pytest.mark.parametrize("kind", MODELS)
def test_saved_model_holds_no_pickle(name, kind, tmp_path):
    method = build(name)
    method.save(method.attach(tiny.model(kind), seed=0), tmp_path)
    kinds = {file.suffix for file in tmp_path.rglob("*") if file.is_file()}
    assert kinds and kinds <= {".safetensors", ".json"}


@pytest.mark.parametrize("kind", MODELS)
def test_merged_equals_unmerged(name, kind):
    method = build(name)
    model = run_training(method, tiny.model(kind), rows_for(kind), budget={"steps": 10}).model
    before = logits(model, kind)
    merged = method.merged(model)
    difference = (logits(merged, kind) - before).abs().max()
    assert difference < 1e-5, difference
    assert logits(model, kind).equal(before), "merging changed the model that was given"
    fresh = {key for key, _ in tiny.model(kind).named_parameters()}
    assert {key for key, _ in merged.named_parameters()} == fresh, "merged weights are not plain weights"


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 7, 13])
def test_resumed_equals_not_stopped_bit_for_bit(name, stop, tmp_path):
    method, rows = build(name), rows_for("llama", 20)
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 15}}
    whole = run_training(method, tiny.model("llama"), rows, folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        run_training(
            method, tiny.model("llama"), rows, folder=tmp_path / "cut", records=records, stop_after=stop, **settings
        )
    resumed = run_training(method, tiny.model("llama"), rows, folder=tmp_path / "cut", records=records, **settings)
    assert plain(resumed.records.steps) == plain(whole.records.steps)
    for (key, value), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert value.equal(other), key


def plain(steps):
    """Records without what a clock says."""
    return [record.model_dump(exclude={"seconds", "tokens_per_second"}) for record in steps]


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_losses_do_not_depend_on_how_a_step_is_cut(name, kind):
    """Micro-batches of at most 64 tokens against one, over 20 steps in fp32."""
    rows = rows_for(kind, 24)
    method, settings = build(name, learning_rate=1e-3), {"batch": {"examples": 24}, "budget": {"steps": 20}}
    whole = run_training(method, tiny.model(kind), rows, **settings)
    settings["batch"]["max_tokens"] = 64
    cut = run_training(method, tiny.model(kind), rows, **settings)
    frozen = [key for key, parameter in cut.model.named_parameters() if not parameter.requires_grad]
    limit = 2e-5 if frozen else 1e-4  # 20 steps of AdamW on gradients that differ by 1e-6
    assert max(abs(a - b) for a, b in zip(whole.records.losses, cut.records.losses, strict=True)) <= limit


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_do_not_depend_on_how_a_step_is_cut(name, kind):
    """The whole gradient of the first step, to 1e-6 of its norm."""
    rows, gradients = rows_for(kind, 24), []
    for max_tokens in (10**9, 64):
        session = make_session(build(name), tiny.model(kind))
        batches = micro_batches(rows, max_tokens=max_tokens)
        supervised = sum(batch.num_supervised for batch in batches)
        for index, batch in enumerate(batches):
            session.accumulate(batch, denominator=supervised, last=index == len(batches) - 1)
        trained = [p for p in session.model.parameters() if p.requires_grad]
        gradients.append(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]))
    assert len(batches) > 3
    whole, cut = gradients
    assert whole.norm() > 0
    assert (whole - cut).norm() <= 1e-6 * whole.norm()


def test_unknown_option_is_refused(name):
    with pytest.raises(ValidationError, match="not_an_option"):
        build(name, not_an_option=1)


def test_default_learning_rate_is_documented(name):
    cls = catalogue.load("methods", name)
    assert cls.model_fields["learning_rate"].default > 0


def test_meta_device_counts_what_training_trains(name):
    with torch.device("meta"):
        shapes = build(name).attach(tiny.model("llama").to("meta"), seed=0)
    counted = sum(p.numel() for p in shapes.parameters() if p.requires_grad)
    session: Session = make_session(build(name), tiny.model("llama"))
    assert isinstance(session, TorchSession)
    assert counted == session.parameters().trainable


def test_attaching_does_not_need_the_random_state(name):
    first = build(name).attach(tiny.model("llama"), seed=3)
    torch.rand(100)
    second = build(name).attach(copy.deepcopy(tiny.model("llama")), seed=3)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(one.equal(other) for one, other in pairs)
