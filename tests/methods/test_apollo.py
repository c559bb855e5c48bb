"""APOLLO: scalings per channel and per matrix, the limiter, what it holds, resuming."""

import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.errors import ConfigError
from tunelab.kernels.projector import Projector
from tunelab.methods.apollo import Apollo
from tunelab.training.optim import trained_parameters

NAME = "model.layers.0.mlp.up_proj.weight"


def authors(weight, gradients, *, rank: int, rate: float, scale: float, seed: int = 0) -> list[torch.Tensor]:
    """The paper's algorithm 1 for one matrix taller than wide, as `step` of apollo-torch 1.0.3's apollo.py takes it:
    the limiter looks at the update without bias correction, which then multiplies the step. The weight after each.
    Their eps stands beside sqrt(v) without the correction, ours beside sqrt(v) with it."""
    projector = Projector(tuple(weight.shape), rank=rank, kind="random", side="std", name=NAME, seed=seed)
    first = second = last = 0.0
    weights = []
    for step, gradient in enumerate(gradients, 1):
        if step == 1:
            projector.refresh(gradient)
        low = gradient @ projector.basis("right", gradient)
        first, second = 0.9 * first + 0.1 * low, 0.999 * second + 0.001 * low.square()
        adam = first / (second.sqrt() + 1e-8 * (1 - 0.999**step) ** 0.5)
        scaling = adam.norm() / low.norm() if rank == 1 else (adam.norm(dim=1) / low.norm(dim=1))[:, None]
        move = gradient * scaling
        if step > 1 and move.norm() > 1.01 * last:
            move = move * (1.01 * last / move.norm())
        last = move.norm()
        correction = (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
        weight = weight - rate * correction * scale**0.5 * move
        weights.append(weight)
    return weights


@pytest.mark.parametrize(("rank", "scale"), [(1, 128.0), (8, 1.0)])
def test_steps_are_the_authors(rank, scale):
    session = make_session(Apollo(rank=rank), tiny.model("llama"))
    weight = dict(session.model.named_parameters())[NAME]
    torch.manual_seed(0)
    growing = torch.tensor([1.0, 0.5, 2.0, 4.0, 0.1])  # the limiter acts on some
    gradients = growing[:, None, None] * torch.randn(5, *weight.shape)
    wanted = authors(weight.detach().clone(), gradients, rank=rank, rate=1e-2, scale=scale)
    for gradient, after in zip(gradients, wanted, strict=True):
        weight.grad = gradient.clone()
        session.update(learning_rate=1e-2, max_norm=None)
        torch.testing.assert_close(weight.detach(), after, atol=1e-6, rtol=1e-5)


def test_of_even_gradients_the_limiter_holds_back_the_first_steps():
    """sqrt(0.001) / 0.1 = 0.3162 is the first bias correction and |update| 3.1623 without it; from there that may grow
    by 1.01 a step, and the corrections of steps 2 and 3 are 0.2353 and 0.2020. Limiting the corrected update would
    leave all three equal."""
    session = make_session(Apollo(rank=8), tiny.model("llama"))
    weight = dict(session.model.named_parameters())[NAME]
    torch.manual_seed(0)
    gradient, lengths = torch.randn(weight.shape), []
    for _ in range(3):
        weight.grad, before = gradient.clone(), weight.detach().clone()
        session.update(learning_rate=1e-2, max_norm=None)
        lengths.append((weight.detach() - before).norm().item())
    ratios = [length / lengths[0] for length in lengths]
    assert ratios == pytest.approx([1.0, 1.01 * 0.23530 / 0.31623, 1.01**2 * 0.20203 / 0.31623], rel=1e-3)


def test_state_is_moments_of_the_projection_alone():
    session = run_training(Apollo(rank=4), tiny.model("llama"), tiny.rows(6), budget={"steps": 1}).session
    matrices, model = session.updater.matrices, session.model
    formula = sum(2 * 4 * max(matrix.weight.shape) for matrix in matrices.values())
    formula += sum(2 * p.numel() for name, p in trained_parameters(model).items() if name not in matrices)
    floats = [value for value in session.updater.state().values() if value.dtype == torch.float32 and value.ndim]
    assert sum(value.numel() for value in floats) == formula


def test_the_projection_changes_exactly_at_the_gap():
    session = run_training(Apollo(rank=4, update_gap=3), tiny.model("gpt2"), tiny.rows(6), budget={"steps": 7}).session
    assert {matrix.projector.num_refreshes for matrix in session.updater.matrices.values()} == {3}


@pytest.mark.slow
def test_mini_resumes_bit_for_bit_between_refreshes(tmp_path):
    method, rows = Apollo(rank=1, update_gap=4, learning_rate=1e-3), tiny.rows(20)
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 9}}
    whole = run_training(method, tiny.model("gpt2"), rows, folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        run_training(
            method, tiny.model("gpt2"), rows, folder=tmp_path / "cut", records=records, stop_after=6, **settings
        )
    resumed = run_training(method, tiny.model("gpt2"), rows, folder=tmp_path / "cut", records=records, **settings)
    for (name, value), (_, other) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert value.equal(other), name
    assert whole.records.losses[-1] < whole.records.losses[0]


def test_a_rank_above_the_matrix_is_refused():
    with pytest.raises(ConfigError, match="rank: 256 is larger than the matrix of"):
        Apollo().attach(tiny.model("llama"), seed=0)
