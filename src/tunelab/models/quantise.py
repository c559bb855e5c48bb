"""Linear layers whose frozen weight is held in 4 bits (nf4, Dettmers et al. 2023, arXiv:2305.14314).

bitsandbytes quantises and dequantises (its kernels on CUDA and CPU); the layer is ours, because its own repacks
weights on some CPUs and then dequantises them wrongly (bitsandbytes 0.50.2, AVX512-BF16).
"""
# I in, O out

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 64
"""Weights that share one scale."""
SCALES_BLOCK = 256
"""Scales that share one scale of their own (double quantisation)."""


class _FrozenLinear(torch.autograd.Function):
    """Keeps nothing: the weight is asked for again in the backward pass."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Callable[[], Tensor], bias_O) -> Tensor:
        ctx.weight = weight
        return F.linear(x, weight(), bias_O)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return (grad @ ctx.weight() if ctx.needs_input_grad[0] else None), None, None


class Nf4Linear(nn.Module):
    """y = x W^T + b with W (O, I) in nf4: two codes a byte, 8-bit scales. Buffers only: nothing is trained."""

    def __init__(self, layer: nn.Module, *, transposed: bool) -> None:
        super().__init__()
        weight_OI = (layer.weight.t() if transposed else layer.weight).detach()
        self.shape = tuple(weight_OI.shape)
        self.bias = layer.bias
        if weight_OI.device.type == "meta":
            blocks = -(-weight_OI.numel() // BLOCK)
            state = {
                "codes": torch.empty((weight_OI.numel() + 1) // 2, 1, dtype=torch.uint8, device="meta"),
                "scales": torch.empty(blocks, dtype=torch.uint8, device="meta"),
                "scales_of_scales": torch.empty(-(-blocks // SCALES_BLOCK), device="meta"),
                "offset": torch.empty((), device="meta"),
            }
        else:
            state = quantise(weight_OI.contiguous())
        for name, value in state.items():
            self.register_buffer(name, value)

    @property
    def quantised_weights(self) -> int:
        """How many weights the codes stand for."""
        return self.shape[0] * self.shape[1]

    @property
    def weight(self) -> None:
        """There is no float weight to read a dtype from."""
        return None

    def dense(self, dtype: torch.dtype) -> Tensor:
        """A fresh copy of the weight, shape (O, I)."""
        return dequantise(self.codes, self.scales, self.scales_of_scales, self.offset, shape=self.shape, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return _FrozenLinear.apply(x.to(dtype), lambda: self.dense(dtype), bias)


def quantise(weight_OI: Tensor) -> dict[str, Tensor]:
    """codes, scales, scales_of_scales, offset as bitsandbytes makes them with double quantisation."""
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(
        weight_OI, blocksize=BLOCK, compress_statistics=True, quant_type="nf4", quant_storage=torch.uint8
    )
    return {
        "codes": codes,
        "scales": state.absmax,
        "scales_of_scales": state.state2.absmax,
        "offset": state.offset.float().clone(),
    }


def dequantise(
    codes: Tensor,
    scales: Tensor,
    scales_of_scales: Tensor,
    offset: Tensor,
    *,
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> Tensor:
    """The weights that the codes stand for."""
    from bitsandbytes import functional

    device = codes.device
    dynamic = functional.create_dynamic_map().to(device)
    inner = functional.QuantState(absmax=scales_of_scales, code=dynamic, blocksize=SCALES_BLOCK, dtype=torch.float32)
    state = functional.QuantState(
        absmax=scales,
        shape=torch.Size(shape),
        code=functional.get_4bit_type("nf4", device=device),
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=dtype,
        offset=offset,
        state2=inner,
    )
    return functional.dequantize_4bit(codes, state)
