"""Q-GaLore: weights really in 8 bits, rounding that keeps the mean, gaps that double, resuming."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import micro_batches
from tunelab.errors import ConfigError, ModelError
from tunelab.methods.q_galore import QGalore
from tunelab.models.int8 import BLOCK, Int8Linear, quantise


def held(layer: nn.Module, *, key: int = 0) -> Int8Linear:
    return Int8Linear(layer, transposed=isinstance(layer, Conv1D), key=key)


@pytest.mark.parametrize("layer", [nn.Linear(40, 24), nn.Linear(40, 24, bias=False), Conv1D(24, 40)])
def test_the_layer_computes_its_dequantised_weight_and_gives_that_weights_gradient(layer):
    one = held(layer)
    plain, x, upstream = one.plain(), torch.randn(3, 5, 40, requires_grad=True), torch.randn(3, 5, 24)
    taken = []
    one.watch(taken.append)
    (wanted,) = torch.autograd.grad((plain(x) * upstream).sum(), [plain.weight])
    (one(x) * upstream).sum().backward()
    torch.testing.assert_close(one(x), plain(x), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(taken[0], wanted.t() if one.transposed else wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x.grad, torch.autograd.grad((plain(x) * upstream).sum(), [x])[0], atol=1e-5, rtol=1e-5)
    weight_OI = layer.weight.t() if one.transposed else layer.weight
    assert (one.dense(torch.float32) - weight_OI).abs().max() <= 0.5001 * one.scales.max()


def test_a_gradient_arrives_though_nothing_else_asks_for_one():
    one, taken = held(nn.Linear(40, 24, bias=False)), []
    one.watch(taken.append)
    one(torch.randn(2, 40)).sum().backward()
    assert taken[0].shape == (24, 40)


def test_random_rounding_keeps_steps_smaller_than_a_code_in_the_mean():
    torch.manual_seed(0)
    weight = torch.randn(64, BLOCK)
    weight[:, 0] = 4.0  # so that a step changes no scale
    layer = nn.Linear(BLOCK, 64, bias=False)
    layer.weight = nn.Parameter(weight)
    one, small = held(layer), 0.05 * 4.0 / 127
    start = one.dense(torch.float32)
    for _ in range(40):
        one.move(lambda weight_OI: weight_OI[:, 1:].add_(small))
    moved = (one.dense(torch.float32) - start)[:, 1:]
    assert moved.mean().item() == pytest.approx(40 * small, rel=0.05)
    nearest, _ = quantise(start + small, draw=None)
    assert nearest.equal(quantise(start, draw=None)[0]), "rounding to the nearest would never move"


def test_rounding_depends_on_key_and_number_of_moves_alone():
    layer = nn.Linear(300, 24)
    one, other, third = held(layer), held(layer), held(layer, key=1)
    for changed in (one, other, third):
        torch.rand(7)
        changed.move(lambda weight_OI: weight_OI.add_(1e-4))
    assert one.codes.equal(other.codes)
    assert not one.codes.equal(third.codes)


def test_each_move_is_rounded_by_draws_of_its_own_and_a_resumed_one_by_the_same():
    """From the same codes: the second move rounds otherwise than the first, and as that of a layer that was loaded."""
    layer = nn.Linear(300, 24)
    moved, resumed = held(layer), held(layer)
    start, found = (moved.codes.clone(), moved.scales.clone()), []
    for _ in range(2):
        moved.codes.copy_(start[0])
        moved.scales.copy_(start[1])
        moved.move(lambda weight_OI: weight_OI.add_(1e-4))
        found.append(moved.codes.clone())
    assert not found[0].equal(found[1])
    resumed.num_moves.fill_(1)
    resumed.move(lambda weight_OI: weight_OI.add_(1e-4))
    assert resumed.codes.equal(found[1])


def test_no_float_copy_of_a_matrix_is_held():
    session = run_training(QGalore(rank=4), tiny.model("llama"), tiny.rows(6), budget={"steps": 2}).session
    layers = [module for module in session.model.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 14
    assert not [name for name, _ in session.model.named_parameters() if "_proj" in name]
    for layer in layers:
        values, buffers = layer.quantised_weights, dict(layer.named_buffers())
        assert buffers["codes"].dtype == torch.int8
        assert sum(b.numel() * b.element_size() for b in buffers.values()) == values + 4 * -(-values // BLOCK) + 8
    total = sum(parameter.numel() for parameter in tiny.model("llama").parameters())
    assert session.parameters().total == total


def refreshes(directions: list[torch.Tensor], *, patience: float) -> tuple[list[int], int]:
    """Steps at which the basis of one matrix is found from these gradients, and the gap at the end; it begins at 1."""
    session = make_session(QGalore(rank=2, update_gap=1, patience=patience, projector="svd"), tiny.model("llama"))
    target = next(iter(session.updater.targets.values()))
    torch.manual_seed(0)
    refreshed = []
    for step, direction in enumerate(directions):
        sign = (-1) ** step  # a direction is the same whatever its sign
        target.take(sign * direction + 1e-3 * torch.randn(target.matrix.shape))
        refreshed += [step] if target.refreshed_at == step else []
        target.update(learning_rate=1e-3, weight_decay=0.0)
    return refreshed, target.gap


def single(place: int) -> torch.Tensor:
    """A gradient of q_proj whose leading direction is orthogonal to those of other places."""
    grad = torch.zeros(32, 32)
    grad[place, place] = 1.0
    return grad


def test_the_gap_doubles_at_every_refresh_while_the_leading_direction_stays():
    """The authors' rule: five cosines at step 5, and from there each refresh doubles; all lie at multiples."""
    assert refreshes([single(3)] * 20, patience=0.4) == ([0, 1, 2, 3, 4, 5, 6, 8, 16], 16)
    assert refreshes([single(step) for step in range(20)], patience=0.4) == (list(range(20)), 1)


def test_cosines_of_before_a_doubling_count_after_it():
    """Steady to step 5, then turned at each refresh: means of 0.8 and 0.6 double the gap again, 0.4 does not."""
    directions = [single(3)] * 6 + [single(step - 2) for step in range(6, 33)]
    assert refreshes(directions, patience=0.5) == ([0, 1, 2, 3, 4, 5, 6, 8, 16, 24, 32], 8)


@pytest.mark.slow
@pytest.mark.parametrize("projector", ["subspace", "random"])
def test_resumed_between_refreshes_equals_not_stopped(projector, tmp_path):
    method = QGalore(rank=8, update_gap=2, learning_rate=1e-2, projector=projector)
    model, rows = (lambda: tiny.model("gpt2", n_inner=640)), tiny.rows(20)  # 8 x 640 values: really 8 bits
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 8}}
    whole = run_training(method, model(), rows, folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        run_training(method, model(), rows, folder=tmp_path / "cut", records=records, stop_after=5, **settings)
    resumed = run_training(method, model(), rows, folder=tmp_path / "cut", records=records, **settings)
    for (name, value), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert value.equal(other), name


def test_loss_falls_by_the_matrices_alone():
    session = make_session(QGalore(rank=8, learning_rate=2e-2, optimizer="adamw"), tiny.model("llama"))
    session.model.requires_grad_(False)
    batches = micro_batches(tiny.rows(12), max_tokens=10**9)
    losses = []
    for _ in range(30):
        losses.append(float(session.accumulate(batches[0], denominator=batches[0].num_supervised, last=True)))
        session.update(learning_rate=2e-2, max_norm=1.0)
    assert losses[-1] < 0.97 * losses[0], losses


def test_a_rank_above_the_matrix_and_a_foreign_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="rank: 64 is larger than the matrix of"):
        QGalore().attach(tiny.model("llama"), seed=0)
    method = QGalore(rank=4)
    with pytest.raises(ModelError, match=r"no q_galore\.safetensors in it"):
        method.load(method.attach(tiny.model("llama"), seed=0), tmp_path)
    method.save(method.attach(tiny.model("gpt2"), seed=0), tmp_path)
    assert QGalore.saved_options(tmp_path) == {"targets": "all-linear", "rank": 4}
    with pytest.raises(ModelError, match="weights of another model or other targets"):
        method.load(method.attach(tiny.model("llama"), seed=0), tmp_path)
