"""GaLore: what it equals in its limits, when bases change, what it holds, and what clipping and decay mean."""

import math

import pytest
import torch
from pydantic import ValidationError

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.config.schema import Optimizer
from tunelab.data.tokens.batching import micro_batches
from tunelab.errors import ConfigError
from tunelab.kernels.projector import Projector
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.training.matrices import FloatMatrix
from tunelab.training.optim import SharedRule, trained_parameters
from tunelab.training.projected import Projected, ProjectedRule, Settings, inner_optimizer
from tunelab.training.step import accumulate

RULE = Optimizer()


def one_matrix(weight, rule=RULE, *, inner=None, rank=2, kind="svd", side="std", **settings) -> ProjectedRule:
    matrix = FloatMatrix(weight, transposed=False)
    projector = Projector(matrix.shape, rank=rank, kind=kind, side=side, name="w", seed=0)
    chosen = Settings(**{"update_gap": 200, "scale": 1.0, "moments": "keep", **settings})
    inner = inner or inner_optimizer(rule, kind="adamw")
    return ProjectedRule({"w": Projected(matrix, projector, chosen, inner)}, None, rule, notes={})


def sgd(tensors):
    return torch.optim.SGD(tensors, lr=0.0)


def sines(rows: int, columns: int, a: float, b: float, c: float) -> torch.Tensor:
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(columns, dtype=torch.float64)
    return torch.sin(a * i + b * j + c)


@pytest.mark.parametrize(
    ("side", "gap", "published"),
    [
        ("std", 3, [43.470709, 41.587623, 39.751393, 37.962788, 36.220385, 34.526896, 32.882898, 31.287043]),
        ("reverse_std", 3, [43.470709, 41.904843, 40.377177, 38.888331, 37.433648, 36.018704, 34.643973, 33.304856]),
        ("full", 3, [43.470709, 42.620894, 41.781176, 40.949201, 40.129017, 39.317450, 38.515274, 37.724367]),
        ("std", 1000, [43.470709, 41.587623, 39.751393, 37.962788, 36.222503, 34.531152, 32.889261, 31.297263]),
    ],
)
def test_losses_of_the_reference_implementation(side, gap, published):
    """Made by galore_torch 2cc66f8 with eps 1e-6, which it adds before the bias correction: after it, that number is
    eps / sqrt(1 - beta2^t)."""
    a, y = sines(5, 6, 1.3, 0.7, 0.2), sines(5, 4, 0.9, 1.1, 0.5)
    weight = torch.nn.Parameter(sines(6, 4, 0.4, 0.8, 0.1))
    updater = one_matrix(weight, side=side, update_gap=gap, scale=0.25)
    losses = []
    for step in range(1, 9):
        loss = 0.5 * (a @ weight - y).square().sum()
        losses.append(loss.item())
        loss.backward()
        updater.targets["w"].low.inner.param_groups[0]["eps"] = 1e-6 / math.sqrt(1 - 0.999**step)
        updater.update(learning_rate=0.1, max_norm=None)
    assert losses == pytest.approx(published, abs=2e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_with_the_identity_as_projector_it_is_the_shared_rule(kind):
    """eps above the rounding of gradients that are zero by mathematics (GPT-2's key bias), which Adam scales up."""
    settings = {"optimizer": {"weight_decay": 0.1, "clip": 0.5, "eps": 1e-6}, "budget": {"steps": 12}}
    ours = Galore(projector="identity", scale=1.0, learning_rate=1e-3)
    one = run_training(ours, tiny.model(kind), tiny.rows(12), **settings)
    other = run_training(Full(learning_rate=1e-3), tiny.model(kind), tiny.rows(12), **settings)
    for (name, value), (_, wanted) in zip(one.model.named_parameters(), other.model.named_parameters(), strict=True):
        assert (value - wanted).abs().max() <= 1e-6, name
    norms = [[step.grad_norm for step in trained.records.steps] for trained in (one, other)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_with_the_identity_as_projector_adafactor_is_the_shared_rules():
    """Its step is relative to the weight's size, which a stand-in at zero does not have."""
    rule, start = Optimizer(weight_decay=0.1), sines(9, 6, 1.3, 0.7, 0.2).float()
    one, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
    inner = inner_optimizer(rule, kind="adafactor")
    updater = one_matrix(one, rule, inner=inner, kind="identity", relative=True)
    shared = SharedRule(torch.nn.ParameterDict({"w": other}), rule, kind="adafactor")
    for weight, chosen in ((one, updater), (other, shared)):
        for _ in range(5):
            (weight - 1).pow(4).sum().backward()
            chosen.update(learning_rate=0.05, max_norm=None)
    assert (one - start).abs().max() > 0.01
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", ["std", "reverse_std", "full"])
def test_with_full_rank_svd_and_sgd_inside_it_is_sgd(side):
    torch.manual_seed(0)
    shape = (6, 6) if side != "std" else (9, 6)
    weight, wanted = torch.nn.Parameter(torch.randn(shape)), torch.randn(shape)
    reference = weight.detach().clone()
    updater = one_matrix(weight, inner=sgd, rank=6, side=side, update_gap=2)
    for _ in range(7):
        (weight - wanted).pow(4).sum().backward()
        updater.update(learning_rate=1e-3, max_norm=None)
        reference -= 1e-3 * 4 * (reference - wanted).pow(3)
    torch.testing.assert_close(weight.detach(), reference, atol=1e-5, rtol=1e-5)


def test_bases_change_exactly_at_the_gap():
    method = Galore(rank=8, projector="svd", update_gap=3)
    session = make_session(method, tiny.model("llama"))
    name, changed = "model.layers.0.mlp.up_proj.weight", []
    target, before = session.updater.targets[name], None
    for step in range(8):
        accumulate(session, list(micro_batches(tiny.rows(12), max_tokens=64)), key=(0, step))
        basis = target.projector.bases["right"]
        if before is None or not basis.equal(before):
            changed.append(step)
        before = basis.clone()
        session.update(learning_rate=1e-2, max_norm=None)
    assert changed == [0, 3, 6]
    assert target.projector.num_refreshes == 3, "once a step, whatever its micro-batches"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_optimizer_state_has_the_size_of_the_papers_formula(kind):
    """Four bytes times: R * min(O, I) for the basis and 2 * R * max(O, I) for the moments of each matrix; twice its
    size for every other parameter."""
    rows, rank = tiny.rows(6, pairs=kind == "t5"), 4
    session = run_training(Galore(rank=rank), tiny.model(kind), rows, budget={"steps": 1}).session
    targets = session.updater.targets
    shapes = [target.matrix.shape for target in targets.values()]
    formula = sum(rank * min(shape) + 2 * rank * max(shape) for shape in shapes)
    formula += sum(2 * p.numel() for name, p in trained_parameters(session.model).items() if name not in targets)
    floats = [value for value in session.updater.state().values() if value.dtype == torch.float32 and value.ndim]
    assert sum(value.numel() for value in floats) == formula
    assert len(targets) > 7


def test_at_most_one_layers_gradient_is_alive_during_backward():
    session = make_session(Galore(rank=4, projector="svd"), tiny.model("llama"))
    parameters = [target.matrix.parameter for target in session.updater.targets.values()]
    alive = []
    for parameter in parameters:  # called after the updater's own hook has taken this one's gradient
        parameter.register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(p.grad is not None for p in parameters))
        )
    (batch,) = micro_batches(tiny.rows(12), max_tokens=10**9)
    session.accumulate(batch, denominator=100, last=True)
    assert len(alive) == len(parameters) == 14
    assert max(alive) == 0
    assert all(target.low.stand_in.untyped_storage().nbytes() == 0 for target in session.updater.targets.values())


@pytest.mark.parametrize("projector", ["random", "identity"])
def test_micro_batches_add_up_to_the_whole_projected_gradient(projector):
    sums = []
    for max_tokens in (10**9, 64):
        session = make_session(Galore(rank=8, projector=projector), tiny.model("gpt2"))
        batches = micro_batches(tiny.rows(24), max_tokens=max_tokens)
        for batch in batches:
            session.accumulate(batch, denominator=100, last=False)
        sums.append(torch.cat([t.low.stand_in.grad.flatten() for t in session.updater.targets.values()]))
    assert len(batches) > 3
    assert (sums[0] - sums[1]).norm() <= 1e-6 * sums[0].norm()


def test_the_norm_is_that_of_what_the_update_sees_and_clipping_bounds_it():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(9, 6))
    start, updater = weight.detach().clone(), one_matrix(weight, inner=sgd)
    gradient = torch.randn(9, 6)
    (weight * gradient).sum().backward()
    projected = torch.linalg.svdvals(gradient)[:2].norm().item()
    assert float(updater.gradient_norm()) == pytest.approx(projected, rel=1e-5)
    assert projected < gradient.norm()
    updater.update(learning_rate=1.0, max_norm=0.3)
    assert (weight - start).norm().item() == pytest.approx(0.3, rel=1e-4)


def test_decay_shrinks_the_whole_weight_by_rate_times_decay():
    moved = []
    for decay in (0.0, 0.2):
        weight = torch.nn.Parameter(sines(8, 5, 0.4, 0.8, 0.1).float())
        updater = one_matrix(weight, Optimizer(weight_decay=decay), scale=0.25)
        start = weight.detach().clone()
        weight.square().sum().backward()
        updater.update(learning_rate=0.1, max_norm=None)
        moved.append(weight.detach())
    torch.testing.assert_close(moved[0] - moved[1], 0.1 * 0.2 * start, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"projector": "svd"}, {"moments": "rotate"}, {"optimizer": "adamw8bit"}])
@pytest.mark.parametrize("stop", [3, 6])
def test_resumed_between_refreshes_equals_not_stopped(options, stop, tmp_path):
    method = Galore(rank=8, update_gap=4, learning_rate=1e-2, **options)
    model, rows = (lambda: tiny.model("llama", intermediate_size=640)), tiny.rows(20)  # 8 x 640 values: really 8 bits
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 9}}
    whole = run_training(method, model(), rows, folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        run_training(method, model(), rows, folder=tmp_path / "cut", records=records, stop_after=stop, **settings)
    resumed = run_training(method, model(), rows, folder=tmp_path / "cut", records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    for (name, value), (_, other) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert value.equal(other), name


@pytest.mark.parametrize("moments", ["keep", "rotate", "reset"])
def test_moments_at_a_refresh(moments):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(9, 6))
    updater = one_matrix(weight, moments=moments, update_gap=1)
    low = updater.targets["w"].low
    (weight * torch.randn(9, 6)).sum().backward()
    updater.update(learning_rate=0.1, max_norm=None)
    old, before = updater.targets["w"].projector.bases["right"], dict(low.inner.state[low.stand_in])
    (weight * torch.randn(9, 6)).sum().backward()
    new, after = updater.targets["w"].projector.bases["right"], low.inner.state.get(low.stand_in)
    if moments == "reset":
        assert after is None
    elif moments == "keep":
        assert after["exp_avg"].equal(before["exp_avg"])
    else:
        turn = old.t() @ new
        torch.testing.assert_close(after["exp_avg"], before["exp_avg"] @ turn)
        torch.testing.assert_close(after["exp_avg_sq"], before["exp_avg_sq"] @ turn.square())


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 3e-2), ("adamw8bit", 3e-2), ("adafactor", 1.0)])
def test_loss_falls_with_every_inner_optimizer_and_frozen_others_stay(optimizer, rate):
    base = tiny.model("llama")
    method = Galore(rank=8, update_gap=10, learning_rate=rate, optimizer=optimizer, other="freeze")
    before = base.get_input_embeddings().weight.detach().clone()
    trained = run_training(method, base, tiny.rows(12), budget={"steps": 40})
    losses = trained.records.losses
    assert sum(losses[-4:]) < 0.97 * sum(losses[:4]), losses
    assert trained.model.get_input_embeddings().weight.equal(before)


def test_other_parameters_have_their_own_rate():
    session = make_session(Galore(rank=8, other_rate=0.1), tiny.model("llama"))
    projected, *others = session.optimizer()
    assert projected["effective_rate"] == "learning rate x 0.25"
    assert [group["group"] for group in others] == ["matrices, rate x 0.1", "vectors, rate x 0.1"]
    assert sum(group["parameters"] for group in session.optimizer()) == session.parameters().trainable


def test_a_second_updater_takes_over_from_the_first():
    session = make_session(Galore(rank=8), tiny.model("llama"))
    first = session.updater
    session.restart()
    del first
    (batch,) = micro_batches(tiny.rows(6), max_tokens=10**9)
    session.accumulate(batch, denominator=10, last=True)
    assert all(target.low.stand_in.grad is not None for target in session.updater.targets.values())


def test_a_rank_above_the_matrix_is_refused():
    with pytest.raises(ConfigError, match=r"rank: 17 is larger than the matrix of .*k_proj \(16 x 32\)"):
        Galore(rank=17).attach(tiny.model("llama"), seed=0)


def test_a_target_that_is_no_matrix_is_refused():
    with pytest.raises(ConfigError, match="no linear layer is named 'norm'; there are q_proj, "):
        Galore(rank=4, targets=("norm",)).attach(tiny.model("llama"), seed=0)


def test_rotation_needs_moments_and_a_basis_that_can_be_rotated():
    with pytest.raises(ValidationError, match="rotate needs optimizer adamw and an orthonormal projector"):
        Galore(moments="rotate", optimizer="adafactor")
