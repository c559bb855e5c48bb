"""Gated activations, RMS norms and rotary positions against what transformers' models compute."""

import pytest
import torch
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from tunelab.kernels import blocked
from tunelab.kernels.blocked import ACTIVATIONS, gated, rms_norm, rotated

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 1e-2}


@pytest.fixture(params=[24, 2**17], autouse=True)
def block(request, monkeypatch):
    """Blocks of a few rows, the last one shorter, or all rows."""
    monkeypatch.setattr(blocked, "BLOCK", request.param)


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def compared(found: torch.Tensor, reference: torch.Tensor, wanted: tuple[torch.Tensor, ...]) -> None:
    assert found.shape == reference.shape and found.dtype == reference.dtype
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found.dtype)
    pairs = zip(
        [found, *torch.autograd.grad(found, wanted, grad)],
        [reference, *torch.autograd.grad(reference, wanted, grad)],
        strict=True,
    )
    for one, other in pairs:
        assert one.dtype == other.dtype
        assert (one.float() - other.float()).norm() <= TOLERANCE[wanted[0].dtype] * other.float().norm()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "activation, own",
    [*zip(ACTIVATIONS, [F.silu, F.gelu, lambda x: F.gelu(x, approximate="tanh")], strict=True)],
    ids=[each.name for each in ACTIVATIONS],
)
def test_gates_equal_torchs(activation, own, dtype):
    gate, up = numbers(2, 5, 8, dtype=dtype), numbers(2, 5, 8, dtype=dtype, seed=2)
    compared(gated(gate, up, activation), own(gate) * up, (gate, up))


def test_a_gate_of_another_type_than_what_it_opens():
    gate, up = numbers(5, 8, dtype=torch.bfloat16), numbers(5, 8, seed=2)
    compared(gated(gate, up, ACTIVATIONS[0]), F.silu(gate) * up, (gate, up))


def test_values_that_lie_otherwise_in_memory():
    gate, up = numbers(8, 5), numbers(8, 5, seed=2)
    compared(gated(gate.t(), up.t(), ACTIVATIONS[0]), F.silu(gate.t()) * up.t(), (gate, up))
    x, norm = numbers(8, 5), LlamaRMSNorm(8)
    compared(rms_norm(x.t(), norm.weight, 1e-6), norm(x.t()), (x,))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_norms_equal_llamas(dtype):
    x, norm = numbers(2, 5, 8, dtype=dtype), LlamaRMSNorm(8, eps=1e-3)
    with torch.no_grad():
        norm.weight.copy_(numbers(8, seed=3))
    compared(rms_norm(x, norm.weight, 1e-3), norm(x), (x, norm.weight))
    norm.to(dtype)
    compared(rms_norm(x, norm.weight, 1e-3), norm(x), (x, norm.weight))


def test_under_autocast_a_norm_is_rounded_once_for_all_that_read_it():
    x, norm = numbers(2, 5, 8, dtype=torch.bfloat16), LlamaRMSNorm(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rms_norm(x, norm.weight, 1e-6)
        assert norm(x).dtype == torch.float32
        compared(found, norm(x).to(torch.bfloat16), (x, norm.weight))
    assert found.equal(norm(x).to(torch.bfloat16))


def test_only_inputs_are_kept():
    gate, up, x = numbers(5, 8), numbers(5, 8, seed=2), numbers(5, 8, seed=3)
    kept = []

    def seen(value):
        kept.append((tuple(value.shape), value.untyped_storage().data_ptr()))
        return value

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda value: value):
        gated(gate, up, ACTIVATIONS[0])
        assert kept == [((5, 8), each.untyped_storage().data_ptr()) for each in (gate, up)]
        kept.clear()
        rms_norm(x, torch.ones(8), 1e-6)
        assert [shape for shape, _ in kept] == [(5, 8), (8,), (5, 1)] and kept[0][1] == x.untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("heads_at", [1, 2])
def test_rotation_equals_llamas(heads_at, dtype):
    shape = (2, 3, 5, 8) if heads_at == 1 else (2, 5, 3, 8)
    q, cos, sin = (
        numbers(*shape, dtype=dtype),
        numbers(2, 5, 8, dtype=dtype, seed=2),
        numbers(2, 5, 8, dtype=dtype, seed=3),
    )
    cos, sin = cos.detach(), sin.detach()
    reference, _ = apply_rotary_pos_emb(q, q, cos, sin, unsqueeze_dim=heads_at)
    compared(rotated(q, cos, sin, heads_at), reference, (q,))
