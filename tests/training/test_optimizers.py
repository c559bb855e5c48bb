"""The inner optimizers of the shared rule: what they keep, that they resume bit for bit, and what they tell."""

import math

import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.config.schema import Optimizer
from tunelab.methods.full import Full
from tunelab.training.inner.optimizers import KINDS, optimizer_state
from tunelab.training.optim import SharedRule

RATES = {"adamw": 1e-2, "adamw8bit": 1e-2, "adafactor": 1e-1}
WIDE = {"hidden_size": 64, "intermediate_size": 128}
"""Matrices of 4,096 values and more, beside smaller ones."""


def method(kind: str) -> Full:
    return Full(optimizer=kind, learning_rate=RATES[kind])


@pytest.mark.parametrize("kind", list(RATES))
def test_loss_falls(kind):
    losses = run_training(method(kind), tiny.model("llama", **WIDE), tiny.rows(12), budget={"steps": 20}).records.losses
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4]), losses


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(RATES))
def test_resumed_equals_not_stopped_bit_for_bit(kind, tmp_path):
    rows, settings = tiny.rows(20), {"checkpoint": {"seconds": 0}, "budget": {"steps": 10}}
    settings["optimizer"] = {"weight_decay": 0.1}
    whole = run_training(method(kind), tiny.model("llama", **WIDE), rows, folder=tmp_path / "whole", **settings)
    records, cut = Records(), tmp_path / "cut"
    with pytest.raises(Stopped):
        run_training(
            method(kind), tiny.model("llama", **WIDE), rows, folder=cut, records=records, stop_after=4, **settings
        )
    resumed = run_training(method(kind), tiny.model("llama", **WIDE), rows, folder=cut, records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    for (key, value), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert value.equal(other), key
    ours, theirs = (trained.session.updater.state() for trained in (resumed, whole))
    assert set(ours) == set(theirs)
    assert all(value.equal(theirs[key]) and value.dtype == theirs[key].dtype for key, value in ours.items())


def test_8_bit_moments_are_bytes():
    trained = run_training(method("adamw8bit"), tiny.model("llama", **WIDE), tiny.rows(12), budget={"steps": 2})
    state, parameters = trained.session.updater.state(), dict(trained.model.named_parameters())
    for name, parameter in parameters.items():
        wanted = torch.uint8 if parameter.numel() >= 4096 else torch.float32
        for moment in ("state1", "state2"):
            assert state[f"{name}.{moment}"].dtype == wanted, name
            assert state[f"{name}.{moment}"].shape == parameter.shape
    assert {value.dtype for value in state.values() if value.numel() >= 4096} == {torch.uint8}
    large = {name for name, parameter in parameters.items() if parameter.numel() >= 4096}
    assert 0 < len(large) < len(parameters)
    size = sum(value.nbytes for key, value in state.items() if key.rsplit(".", 1)[0] in large)
    assert size < 2.3 * sum(parameters[name].numel() for name in large)  # and a scale of 4 bytes a block of 256
    assert not [key for key in state if "qmap" in key], "constant tables are not state"


def test_loaded_8_bit_state_shares_one_table(tmp_path):
    trained = run_training(method("adamw8bit"), tiny.model("llama", **WIDE), tiny.rows(12), budget={"steps": 2})
    trained.session.save(tmp_path)
    session = make_session(method("adamw8bit"), tiny.model("llama", **WIDE))
    session.load(tmp_path)
    tables = {id(state["qmap1"]) for state in session.updater.optimizer.state.values() if "qmap1" in state}
    assert len(tables) == 1


def test_adafactor_keeps_a_row_and_a_column():
    trained = run_training(method("adafactor"), tiny.model("llama", **WIDE), tiny.rows(12), budget={"steps": 2})
    state = trained.session.updater.state()
    for name, parameter in trained.model.named_parameters():
        if parameter.ndim == 1:
            assert state[f"{name}.variance"].shape == parameter.shape
        else:
            outputs, inputs = parameter.shape
            assert state[f"{name}.row_var"].shape == (outputs, 1)
            assert state[f"{name}.col_var"].shape == (1, inputs)
    kept = sum(value.numel() for value in state.values())
    assert kept < 0.1 * sum(parameter.numel() for parameter in trained.model.parameters())


def test_adafactor_decays_matrices_and_caps_its_step():
    """The first step moves each weight by rate x RMS(W); decay is rate x weight_decay of the weight, matrices only."""
    weight = torch.nn.Parameter(torch.full((4, 8), 2.0))
    vector = torch.nn.Parameter(torch.full((8,), 2.0))
    model = torch.nn.ParameterDict({"weight": weight, "vector": vector})
    rule = SharedRule(model, Optimizer(weight_decay=0.5), kind="adafactor")
    weight.grad, vector.grad = torch.full((4, 8), 0.1), torch.full((8,), 0.1)
    rule.update(learning_rate=0.01, max_norm=None)
    rms = 2.0  # taken before the decay
    assert torch.allclose(weight, torch.full((4, 8), 2.0 * (1 - 0.01 * 0.5) - 0.01 * rms))
    assert torch.allclose(vector, torch.full((8,), 2.0 - 0.01 * rms))
    for _ in range(3):
        weight.grad, vector.grad = torch.full((4, 8), 0.1), torch.full((8,), 0.1)
        before = vector.detach().clone()
        rule.update(learning_rate=5.0, max_norm=None)
    relative = (before - vector) / before
    assert torch.allclose(relative, torch.full((8,), 1 / math.sqrt(4)), atol=1e-4), "1 / sqrt(step), not 5"


def test_each_kind_tells_its_effective_settings():
    rule = Optimizer(weight_decay=0.1, betas=(0.8, 0.95), eps=1e-7)
    told = {kind: SharedRule(tiny.model("llama", **WIDE), rule, kind=kind).describe() for kind in KINDS}
    for kind, (matrices, vectors) in told.items():
        assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0), kind
    for kind in ("adamw", "adamw8bit", "paged_adamw8bit"):
        assert tuple(told[kind][0]["betas"]) == (0.8, 0.95)
        assert told[kind][0]["eps"] == 1e-7
    assert told["adamw8bit"][0]["state_bits"] == 8
    small = [p.numel() for p in tiny.model("llama", **WIDE).parameters() if p.ndim >= 2 and p.numel() < 4096]
    assert told["adamw8bit"][0]["parameters_with_32_bit_state"] == sum(small) > 0
    assert "1 / sqrt(step)" in told["adafactor"][0]["step_size"]
    assert "betas" not in told["adafactor"][0]


def test_a_plain_number_becomes_a_tensor():
    weight = torch.nn.Parameter(torch.ones(64, 64))
    rule = SharedRule(torch.nn.ParameterDict({"weight": weight}), Optimizer(), kind="adamw8bit")
    weight.grad = torch.ones(64, 64)
    rule.update(learning_rate=0.1, max_norm=None)
    assert optimizer_state(rule.optimizer, rule.parameters)["weight.step"].equal(torch.tensor(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_group_moves_by_its_own_multiple_of_the_learning_rate(dtype):
    """AdamW's first step is the learning rate, whatever the gradient's size: a quarter, and three times that."""
    model = torch.nn.Linear(3, 2).to(dtype)
    rule = SharedRule(model, Optimizer(), rate_of=lambda name: 3.0 if name == "bias" else 1.0)
    for value in model.parameters():
        value.data.zero_()
        value.grad = torch.full_like(value, 0.7)
    rule.update(learning_rate=0.25, max_norm=None)
    for name, wanted in (("weight", -0.25), ("bias", -0.75)):
        value = getattr(model, name).detach().float()
        torch.testing.assert_close(value, torch.full_like(value, wanted), rtol=1e-2, atol=0)
