"""Bases of gradients: orthonormal, close to the exact ones, the same every time; projecting and putting back."""

import pytest
import torch

from tunelab.kernels.projector import Projector, overlap, projected_sides

WIDE, TALL, SQUARE = (12, 20), (20, 12), (12, 12)


def gradient(shape: tuple[int, int], *, seed: int = 0, decay: float = 1.0) -> torch.Tensor:
    """Singular values 1, 2^-decay, 3^-decay, ..."""
    torch.manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.arange(1, min(shape) + 1, dtype=torch.float32) ** -decay
    return left @ torch.diag(values) @ right


def projector(shape: tuple[int, int], **changes) -> Projector:
    return Projector(shape, **{"rank": 4, "kind": "svd", "side": "std", "name": "w", "seed": 0, **changes})


@pytest.mark.parametrize(
    ("side", "tall", "wide", "square"),
    [
        ("std", ("right",), ("left",), ("right",)),
        ("reverse_std", ("left",), ("right",), ("left",)),
        ("left", ("left",), ("left",), ("left",)),
        ("right", ("right",), ("right",), ("right",)),
        ("full", ("left", "right"), ("left", "right"), ("left", "right")),
    ],
)
def test_the_side_follows_the_shape(side, tall, wide, square):
    assert [projected_sides(shape, side) for shape in (TALL, WIDE, SQUARE)] == [tall, wide, square]


@pytest.mark.parametrize("side", ["std", "reverse_std", "full"])
@pytest.mark.parametrize("kind", ["svd", "subspace", "random", "identity"])
@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_projected_gradients_have_the_declared_shape_and_come_back_in_full_size(shape, kind, side):
    one, grad = projector(shape, kind=kind, side=side), gradient(shape)
    one.refresh(grad)
    low, weight = one.project(grad), torch.zeros(shape)
    assert low.shape == one.low_shape
    one.add_back(weight, low, scale=1.0)
    left, right = torch.eye(shape[0]), torch.eye(shape[1])
    if "left" in one.sides:
        left = one.basis("left", grad) @ one.basis("left", grad).t()
    if "right" in one.sides:
        right = one.basis("right", grad) @ one.basis("right", grad).t()
    torch.testing.assert_close(weight, left @ grad @ right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_svd_keeps_all_that_rank_can(shape):
    one, grad = projector(shape), gradient(shape)
    one.refresh(grad)
    values = torch.linalg.svdvals(grad)
    assert one.project(grad).norm() == pytest.approx(values[:4].norm().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["svd", "subspace"])
def test_bases_are_orthonormal(kind):
    one = projector((64, 48), kind=kind, rank=16, side="full")
    for seed in range(3):
        one.refresh(gradient((64, 48), seed=seed))
        for basis in one.bases.values():
            torch.testing.assert_close(basis.t() @ basis, torch.eye(16), atol=1e-5, rtol=0)


def test_subspace_reaches_the_exact_directions_cold_and_warm():
    shape, exact, close = (256, 192), projector((256, 192), rank=32), projector((256, 192), rank=32, kind="subspace")
    grad = gradient(shape, decay=0.8)
    for _ in range(2):  # cold, then warm on a gradient that has moved a little
        exact.refresh(grad)
        close.refresh(grad)
        assert overlap(close.bases["right"], exact.bases["right"]) > 0.95
        grad = grad + 0.02 * gradient(shape, seed=9, decay=0.8)


def test_overlap_of_a_subspace_with_itself_is_one_and_with_its_complement_zero():
    basis = torch.linalg.qr(torch.randn(10, 10)).Q
    assert overlap(basis[:, :4], basis[:, :4].flip(1)) == pytest.approx(1.0, abs=1e-5)
    assert overlap(basis[:, :4], basis[:, 4:8]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("kind", ["svd", "subspace"])
def test_columns_keep_the_signs_of_the_old_basis(kind):
    one, grad = projector(TALL, kind=kind), gradient(TALL)
    one.refresh(grad)
    one.stored["right"] = -one.stored["right"]  # as valid a basis
    before = one.bases["right"]
    one.refresh(grad + 0.01 * gradient(TALL, seed=5))
    assert ((before * one.bases["right"]).sum(0) > 0.9).all()


@pytest.mark.parametrize("kind", ["subspace", "random"])
def test_draws_depend_on_seed_and_name_alone(kind):
    grad = gradient(TALL)

    def basis(**changes):
        torch.rand(3)
        one = projector(TALL, kind=kind, **changes)
        if kind == "subspace":  # the start decides nothing that can be seen after convergence
            return one._normal("right", (12, 4), draw=0)
        one.refresh(grad)
        return one.basis("right", grad)

    assert basis().equal(basis())
    assert not basis().equal(basis(name="v"))
    assert not basis().equal(basis(seed=1))


def test_a_random_basis_changes_at_a_refresh_and_keeps_lengths_in_the_mean():
    one, grad = projector((50, 2000), rank=400, kind="random", side="right"), torch.randn(50, 2000)
    one.refresh(grad)
    first, low = one.basis("right", grad), one.project(grad)
    one.refresh(grad)
    assert not first.equal(one.basis("right", grad))
    assert one.bases == {}, "drawn again whenever it is read"
    assert (low.norm() / grad.norm()).item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("kind", ["svd", "subspace", "random", "identity"])
def test_a_projector_comes_back_from_its_state(kind):
    one, other, grad = projector(TALL, kind=kind), projector(TALL, kind=kind), gradient(TALL)
    one.refresh(grad)
    one.refresh(gradient(TALL, seed=2))
    other.load_state(one.state(), device=grad.device)
    assert other.project(grad).equal(one.project(grad))
    for projection in (one, other):
        projection.refresh(gradient(TALL, seed=3))
    assert other.project(grad).equal(one.project(grad))


def test_a_basis_in_four_bits_is_near_the_float_one_and_an_eighth_of_its_size():
    float_one, one = (projector((640, 512), rank=64, four_bits=bits) for bits in (False, True))
    grad = gradient((640, 512), decay=0.8)
    for projection in (float_one, one):
        projection.refresh(grad)
    exact, near = float_one.bases["right"], one.bases["right"]
    widest = (exact.flatten().view(-1, 64).amax(1) - exact.flatten().view(-1, 64).amin(1)).max() / 15
    assert 0 < (exact - near).abs().max() <= 0.51 * widest
    held = sum(value.numel() * value.element_size() for value in one.stored.values())
    assert held == exact.numel() // 2 + 8 * exact.numel() // 64
    other = projector((640, 512), rank=64, four_bits=True)
    other.load_state(one.state(), device=grad.device)
    assert other.project(grad).equal(one.project(grad))
