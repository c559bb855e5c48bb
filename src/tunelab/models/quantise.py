"""Linear layers whose frozen weight is held in 4 bits (nf4, Dettmers et al. 2023, arXiv:2305.14314).

bitsandbytes quantises and dequantises (its kernels on CUDA and CPU); the layer is ours, because its own repacks
weights on some CPUs and then dequantises them wrongly (bitsandbytes 0.50.2, AVX512-BF16).
"""
# I in, O out

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab.errors import ConfigError
from tunelab.kernels.sparse import has_numbers
from tunelab.models.bitsandbytes_import import import_bitsandbytes
from tunelab.models.targets import is_transposed, linear_layers, outputs_and_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 64
"""Weights that share one scale."""
SCALES_BLOCK = 256
"""Scales that share one scale of their own (double quantisation)."""
AT_ONCE = 4096 * BLOCK
"""Weights that are quantised together."""
LARGEST_ERROR = 0.16
"""Half the widest gap between nf4's codes (0.152), as a share of a block's largest weight, and some for the scale."""


class _FrozenLinear(torch.autograd.Function):
    """Keeps nothing: the weight is asked for again in the backward pass. Gradients for x and the bias."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Callable[[], Tensor], bias_O) -> Tensor:
        ctx.weight = weight
        return F.linear(x, weight(), bias_O)

    @staticmethod
    def backward(ctx, grad: Tensor):
        grad_x = grad @ ctx.weight() if ctx.needs_input_grad[0] else None
        return grad_x, None, grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None


class Nf4Linear(nn.Module):
    """y = x W^T + b with W (O, I) in nf4: two codes a byte, 8-bit scales, in buffers; a bias may be trained.

    Takes the place of nn.Linear or of GPT-2's Conv1D (`transposed`: its weight lies as (I, O)); the codes run along
    the rows of W (O, I) for both, as bitsandbytes and transformers have it.
    """

    codes: Tensor
    scales: Tensor
    scales_of_scales: Tensor
    offset: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: Any, *, transposed: bool) -> None:
        super().__init__()
        weight_OI = (layer.weight.t() if transposed else layer.weight).detach()
        self.out_features, self.in_features = weight_OI.shape
        self.transposed = transposed
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

    def hold(self, weight_OI: Tensor) -> None:
        """This weight, contiguous, in place of the present one."""
        for name, value in quantise(weight_OI).items():
            self._buffers[name] = value

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Nf4Linear:
        """Moves between devices; scales keep their dtype, because narrower ones would make another weight."""
        exact = {"scales_of_scales": self.scales_of_scales, "offset": self.offset}
        super()._apply(fn, recurse)
        for name, value in exact.items():
            if getattr(self, name).dtype != value.dtype:
                setattr(self, name, value.to(getattr(self, name).device))
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I)"""
        return self.out_features, self.in_features

    @property
    def quantised_weights(self) -> int:
        """How many weights the codes stand for."""
        return self.out_features * self.in_features

    @property
    def weight(self) -> None:
        """There is no float weight to read a dtype from."""
        return None

    def state(self) -> dict[str, Tensor]:
        """codes, scales, scales_of_scales, offset; what `dequantise` takes."""
        return dict(self.named_buffers(recurse=False))

    def dense(self, dtype: torch.dtype) -> Tensor:
        """A fresh copy of the weight, shape (O, I)."""
        return dequantise(**self.state(), shape=self.shape, dtype=dtype)

    def plain(self, weight_OI: Tensor) -> nn.Module:
        """A layer of the kind that this one took the place of, with that weight and this bias."""
        if self.transposed:
            from transformers.pytorch_utils import Conv1D

            layer = _empty(Conv1D, self.out_features, self.in_features)
            layer.weight = nn.Parameter(weight_OI.t().contiguous(), requires_grad=False)
        else:
            layer = _empty(nn.Linear, self.in_features, self.out_features, bias=self.bias is not None)
            layer.weight = nn.Parameter(weight_OI, requires_grad=False)
        layer.register_parameter("bias", self.bias)
        return layer.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return _FrozenLinear.apply(x.to(dtype), lambda: self.dense(dtype), bias)


def quantise_model(model: PreTrainedModel, *, keep: Collection[str] = ()) -> PreTrainedModel:
    """Hold every linear layer but the output head in nf4; `keep` names module paths that stay float, as do the layers
    that transformers leave in float (`kept_float`). In place.

    One layer at a time, each float weight freed before the next is read; at the end freed memory goes back to the
    system, which a C library otherwise keeps.

    Raises:
        ConfigError: this device, or this installation, cannot do it.
    """
    first = next(model.parameters(), None)
    require_nf4("cpu" if first is None else first.device)
    layers, kept = linear_layers(model), {*keep, *kept_float(model)}
    for name in list(layers):
        layer = layers.pop(name)
        if name not in kept and not isinstance(layer, Nf4Linear):
            model.set_submodule(name, Nf4Linear(layer, transposed=is_transposed(layer)).train(layer.training))
        del layer
    for parameter in model.parameters():  # one that still lies in the mapped file of weights keeps the whole file
        parameter.data = parameter.data.clone()
    return_freed_memory()
    return model


def kept_float(model: PreTrainedModel) -> set[str]:
    """Linear layers that the model's own class wants in full precision (T5's `wo`): transformers' 4-bit loading leaves
    them so, and an adapter trained here must meet the same base there."""
    wanted = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    return {name for name in linear_layers(model) if wanted & set(name.split("."))}


def float_remarks(model: PreTrainedModel) -> list[str]:
    """Of a method that holds the base in 4 bits: what `kept_float` leaves out."""
    kept = kept_float(model)
    if not kept:
        return []
    layers = linear_layers(model)
    number = sum(prod(outputs_and_inputs(layers[name])) for name in kept)
    names = ", ".join(sorted({name.rpartition(".")[2] for name in kept}))
    return [f"{number:,} weights of {names} stay in full precision, as transformers' own 4-bit loading leaves them"]


def dequantise_model(model: nn.Module) -> None:
    """Put a plain layer of fp32 weights in each quantised one's place. In place."""
    for name, layer in [(name, layer) for name, layer in model.named_modules() if isinstance(layer, Nf4Linear)]:
        model.set_submodule(name, layer.plain(layer.dense(torch.float32)))


def return_freed_memory() -> None:
    """Ask the C library to give freed pages back to the system (glibc; elsewhere nothing)."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def require_nf4(device: torch.device | str) -> None:
    """Quantise and dequantise one block there. Shapes alone (the meta device) need no more than the package.

    Raises:
        ConfigError: bitsandbytes is missing, does not load, or computes something else on that device.
    """
    device = torch.device(device)
    _require_nf4("cpu" if device.type == "meta" else str(device))


@cache
def _require_nf4(device: str) -> None:
    way_out = "install bitsandbytes for this machine (`pip install bitsandbytes`), or use lora, whose base stays float"
    try:
        import_bitsandbytes()
        with torch.device(device):  # a caller may be counting on the meta device
            weight_OI = torch.linspace(-1, 1, BLOCK).reshape(2, BLOCK // 2)
            again_OI = dequantise(**quantise(weight_OI), shape=(2, BLOCK // 2), dtype=torch.float32)
            error = float((weight_OI - again_OI).abs().max())
    except Exception as failure:  # a missing package, a library that does not load, a device without kernels
        reason = (str(failure).strip().splitlines() or [""])[0]
        raise ConfigError(f"4 bit (nf4) on {device}: {type(failure).__name__}: {reason}; {way_out}") from failure
    if error > LARGEST_ERROR:
        raise ConfigError(f"4 bit (nf4) on {device}: bitsandbytes gives other weights back ({error:.2g}); {way_out}")


def quantise(weight_OI: Tensor) -> dict[str, Tensor]:
    """codes, scales, scales_of_scales, offset as bitsandbytes makes them with double quantisation."""
    from bitsandbytes import functional

    # some blocks at a time, which changes none: bitsandbytes' CPU code makes several fp32 copies of what it gets
    pieces = [
        functional.quantize_4bit(piece, blocksize=BLOCK, quant_type="nf4", quant_storage=torch.uint8)
        for piece in weight_OI.reshape(-1).split(AT_ONCE)
    ]
    largest = torch.cat([state.absmax for _, state in pieces])
    offset = largest.mean()
    scales, outer = functional.quantize_blockwise(largest - offset, blocksize=SCALES_BLOCK)
    codes = torch.cat([codes for codes, _ in pieces])
    return {"codes": codes, "scales": scales, "scales_of_scales": outer.absmax, "offset": offset}


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

    if not has_numbers(codes):
        return codes.new_empty(shape, dtype=dtype)
    tables = _tables(codes.device)
    outer = functional.QuantState(
        absmax=scales_of_scales, code=tables.dynamic, blocksize=SCALES_BLOCK, dtype=torch.float32
    )
    largest = functional.dequantize_blockwise(scales, outer).add_(offset)
    # a row that ends within a block is not for bitsandbytes' kernels (with AVX-512 it gets another block's scale, and
    # none takes one of odd length): all codes as one row are
    rows, columns = shape if shape[1] % BLOCK == 0 else (1, 2 * codes.numel())
    kernel = _cpu_kernel(dtype) if codes.device.type == "cpu" else None
    if kernel is None:
        state = functional.QuantState(
            absmax=largest, shape=(rows, columns), code=tables.nf4, blocksize=BLOCK, quant_type="nf4", dtype=dtype
        )
        weight = functional.dequantize_4bit(codes, state)
    else:
        weight = _REUSED.empty(rows * columns, dtype)
        sizes = (ctypes.c_longlong(size) for size in (BLOCK, rows, columns))
        kernel(*(ctypes.c_void_p(value.data_ptr()) for value in (codes, largest, weight)), *sizes)
    return weight.reshape(-1)[: shape[0] * shape[1]].view(shape)


@cache
def _cpu_kernel(dtype: torch.dtype) -> Callable[..., None] | None:
    """bitsandbytes' own CPU code, which writes where it is told to; None where this release has none of that name."""
    from bitsandbytes.cextension import lib

    name = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    try:
        return getattr(lib, f"cdequantize_blockwise_cpu_nf4_{name}")
    except AttributeError:
        return None


class _Reused(threading.local):
    """Memory for a weight, given out again once nothing holds the last one: a dense copy is made in each pass of each
    layer, and glibc (before 2.38) rarely finds the room that the one before left, so that the process keeps growing.
    Held by numpy, whose arrays can be watched: torch keeps the array as long as any tensor over it lives."""

    def __init__(self) -> None:
        self.memory = np.empty(0, dtype=np.uint8)
        self.given: Callable[[], np.ndarray | None] = lambda: None

    def empty(self, numel: int, dtype: torch.dtype) -> Tensor:
        num_bytes = numel * dtype.itemsize
        if self.given() is not None:  # somebody keeps it
            return torch.empty(numel, dtype=dtype)
        if num_bytes > self.memory.nbytes:
            self.memory = np.empty(0, dtype=np.uint8)  # freed before the larger one is made
            self.memory = np.empty(num_bytes, dtype=np.uint8)
        array = self.memory[:num_bytes]
        self.given = weakref.ref(array)
        return torch.from_numpy(array).view(dtype)


_REUSED = _Reused()


class _Tables(NamedTuple):
    nf4: Tensor
    """What the 16 codes of a weight mean, fp32."""
    dynamic: Tensor
    """What the 256 codes of a scale mean, fp32."""


@cache
def _tables(device: torch.device) -> _Tables:
    from bitsandbytes import functional

    return _Tables(functional.get_4bit_type("nf4", device=device), functional.create_dynamic_map().to(device))


def _empty(layer: type[nn.Module], *sizes: int, **options: bool) -> nn.Module:
    """The module without memory for its weight."""
    with torch.device("meta"):
        return layer(*sizes, **options)
