"""The head in blocks against full logits and torch's cross-entropy."""

import pytest
import torch
from torch.nn import functional as F

from tunelab.kernels import linear_cross_entropy as kernel
from tunelab.kernels.linear_cross_entropy import linear_cross_entropy, token_losses


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(kernel, "BLOCK_NUMBERS", 4 * 29)  # 4 of 11 positions
    monkeypatch.setattr(kernel, "GRID", 4)  # 11 are filled up to 12
    monkeypatch.setattr(kernel, "LEAST_COLUMNS", 1)
    monkeypatch.setitem(kernel.TILE_NUMBERS, "cpu", 12 * 8)  # 8 of 29 columns


def problem(*, bias: bool = True, dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    shapes = [(11, 7), (29, 7), (29,)]
    tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return tensors[0], tensors[1], tensors[2] if bias else None, torch.randint(29, (11,))


def reference(hidden, weight, bias, target, *, label_smoothing=0.0, reduction="sum"):
    return F.cross_entropy(F.linear(hidden, weight, bias), target, label_smoothing=label_smoothing, reduction=reduction)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [False, True])
def test_loss_and_gradients_equal_those_of_full_logits(bias, label_smoothing):
    *tensors, target = problem(bias=bias, dtype=torch.float32)
    wanted = [tensor for tensor in tensors if tensor is not None]
    ours = linear_cross_entropy(*tensors, target, label_smoothing=label_smoothing)
    theirs = reference(*tensors, target, label_smoothing=label_smoothing)
    assert torch.allclose(ours, theirs, rtol=1e-6)
    for one, other in zip(torch.autograd.grad(3 * ours, wanted), torch.autograd.grad(3 * theirs, wanted), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [False, True])
def test_a_frozen_heads_tiles_give_the_loss_and_gradient_of_full_logits(bias, label_smoothing):
    hidden, *frozen, target = problem(bias=bias, dtype=torch.float32)
    weight, bias_V = (None if tensor is None else tensor.detach() for tensor in frozen)
    ours = linear_cross_entropy(hidden, weight, bias_V, target, label_smoothing=label_smoothing)
    theirs = reference(hidden, weight, bias_V, target, label_smoothing=label_smoothing)
    assert torch.allclose(ours, theirs, rtol=1e-6)
    (one,), (other,) = torch.autograd.grad(3 * ours, hidden), torch.autograd.grad(3 * theirs, hidden)
    assert (one - other).norm() <= 1e-6 * other.norm()


@pytest.mark.parametrize("factor", [2.0**16 / 11, 0.25])
@pytest.mark.parametrize("trained", [False, True])
def test_what_the_loss_is_multiplied_by_is_in_the_gradients_once(trained, factor):
    """They are made with it, and the loss that comes back multiplied brings it no second time."""
    hidden, weight, bias, target = problem()
    if not trained:
        weight, bias = weight.detach(), bias.detach()
    wanted = [tensor for tensor in (hidden, weight, bias) if tensor.requires_grad]
    ours = linear_cross_entropy(hidden, weight, bias, target, gradient_factor=factor)
    theirs = reference(hidden, weight, bias, target)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=0)
    found, expected = torch.autograd.grad(factor * ours, wanted), torch.autograd.grad(factor * theirs, wanted)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-6 * other.norm()


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_what_is_nearly_certain_are_exact(dtype, trained):
    """p - 1 of about -1e-4, where bf16 has three digits: the target counts as the others' sum, not as 1 less p."""
    torch.manual_seed(0)
    target = torch.randint(29, (11,))
    weight = F.normalize(torch.randn(29, 64), dim=1).to(dtype)
    hidden = (13 * weight[target].float()).to(dtype)
    exact_hidden, exact_weight = (value.double().requires_grad_() for value in (hidden, weight))
    reference(exact_hidden, exact_weight, None, target).backward()
    assert 1e-5 < exact_hidden.grad.abs().max() < 1e-3, "the case is not the one that is meant"
    hidden.requires_grad_(), weight.requires_grad_(trained)
    linear_cross_entropy(hidden, weight, None, target).backward()
    pairs = [(hidden, exact_hidden), *([(weight, exact_weight)] if trained else [])]
    for one, other in pairs:
        share = (one.grad.double() - other.grad).norm() / other.grad.norm()
        assert share <= (1e-5 if dtype == torch.float32 else 2e-2)


def test_token_losses_equal_those_of_full_logits():
    *tensors, target = problem(dtype=torch.float32)
    assert torch.allclose(token_losses(*tensors, target), reference(*tensors, target, reduction="none"), atol=1e-6)


def test_only_what_is_trained_gets_a_gradient():
    hidden, weight, _, target = problem(dtype=torch.float32)
    linear_cross_entropy(hidden, weight.detach(), None, target).backward()
    assert hidden.grad is not None and weight.grad is None


def test_products_follow_autocast():
    *tensors, target = problem(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(*tensors, target)
    assert loss.dtype == torch.float32 and torch.allclose(loss, reference(*tensors, target), rtol=2e-2)
    assert not loss.equal(reference(*tensors, target))
    loss.backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in tensors)


def test_never_holds_more_logits_than_a_block():
    hidden, weight, bias, target = problem(dtype=torch.float32)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.ndim == 2 and result.shape[1] == 29:
                sizes.append(result.shape[0])
            return result

    with Watch():
        linear_cross_entropy(hidden, weight, bias, target).backward()
    assert sizes and max(size for size in sizes if size != 7) <= 4  # 7: the weight's own transpose
