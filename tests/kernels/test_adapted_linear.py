"""The fused adapted layer against plain autograd, and its gradients against finite differences."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunelab.kernels.adapted_linear import AdaptedLinear, Dropout, Frozen, _AdaptedProduct


def layer(*, transposed: bool, dropout: float = 0.0, bias: bool = True) -> AdaptedLinear:
    torch.manual_seed(0)
    base = Conv1D(5, 7) if transposed else nn.Linear(7, 5, bias=bias)
    base.requires_grad_(False)
    first, second = torch.randn(3, 7), torch.randn(5, 3)
    return AdaptedLinear(base, lora_A=first, lora_B=second, scale=0.5, dropout=dropout, transposed=transposed)


def reference(adapted: AdaptedLinear, x: torch.Tensor) -> torch.Tensor:
    weight = adapted.base.weight.t() if adapted.transposed else adapted.base.weight
    return x @ (weight + 0.5 * adapted.lora_B @ adapted.lora_A).t() + (0 if adapted.bias is None else adapted.bias)


@pytest.mark.parametrize("transposed", [False, True])
def test_forward_and_gradients_equal_the_summed_weight(transposed):
    adapted, x = layer(transposed=transposed), torch.randn(2, 4, 7, requires_grad=True)
    upstream = torch.randn(2, 4, 5)
    parameters = [x, adapted.lora_A, adapted.lora_B]
    ours = torch.autograd.grad((adapted(x) * upstream).sum(), parameters)
    theirs = torch.autograd.grad((reference(adapted, x) * upstream).sum(), parameters)
    assert torch.allclose(adapted(x), reference(adapted, x), atol=1e-6)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("dropout", [None, Dropout(0.4, key=3)])
def test_gradients_agree_with_finite_differences(dropout):
    torch.manual_seed(0)
    shapes = [(6, 7), (5, 7), (5,), (3, 7), (5, 3)]
    x, weight, bias, first, second = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    for tensor in (x, first, second):
        tensor.requires_grad_(True)

    def product(x, first, second):
        return _AdaptedProduct.apply(x, Frozen(lambda: weight), bias, first, second, 0.5, dropout, None)

    assert torch.autograd.gradcheck(product, (x, first, second))


def test_dropout_is_off_in_evaluation_and_unbiased_in_training():
    adapted, x = layer(transposed=False, dropout=0.5), torch.randn(4, 7)
    assert torch.allclose(adapted.eval()(x), reference(adapted, x), atol=1e-6)
    adapted.train()
    torch.manual_seed(0)
    drawn = torch.stack([adapted(x) for _ in range(4000)]).detach()
    standard_error = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - reference(adapted, x)).abs() < 4 * standard_error).all()
    assert (standard_error < 0.2).all()
    assert not adapted(x).equal(adapted(x))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_keeps_only_its_input_and_the_low_rank_product(dropout):
    adapted, x = layer(transposed=False, dropout=dropout), torch.randn(64, 7, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        adapted(x)
    storage = {tensor.untyped_storage().data_ptr() for tensor in kept}
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, adapted.weight, adapted.lora_A, adapted.lora_B)}
    extra = [tensor for tensor in kept if tensor.untyped_storage().data_ptr() in storage - known]
    assert sum(tensor.numel() for tensor in extra) <= 64 * 3


def test_bf16_products_follow_autocast():
    adapted, x = layer(transposed=False), torch.randn(4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        y = adapted(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), reference(adapted, x), atol=0.1)
    y.float().sum().backward()
    assert adapted.lora_A.grad.dtype == torch.float32
