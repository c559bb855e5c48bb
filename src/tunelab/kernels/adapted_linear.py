"""A linear layer with a frozen weight and a trained change: y = x (W + S)^T + b + s (x A^T) B^T.

B A is of low rank, S has values at fixed positions; either can be absent. One autograd function keeps only the
layer's input and x A^T, and adds the low-rank term into the product in place, so that it makes no temporary of the
output's size. W + s B A is never formed for training: in bf16 it would round small updates away. S is added to a
temporary copy of W. A quantised W is dequantised in the forward pass and again in the backward pass, and that copy
takes S itself.
"""
# B batch, T tokens, N = B * T, I in, O out, R rank, K sparse positions, M rows of a block

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab.errors import ConfigError
from tunelab.kernels.initial import kaiming_uniform
from tunelab.kernels.parts import Factors, Part, together
from tunelab.kernels.sparse import MOST_ENTRIES, add_at_, gradient_at, row_blocks

Weight = Callable[[], Tensor]
"""Gives the frozen weight, shape (O, I), in the dtype of the product: the stored tensor, or a dequantised copy."""
Collect = Callable[[int, Tensor], None]
"""Takes the gradient of the whole weight, in blocks: first row, block (M, I)."""


class Sparse(NamedTuple):
    """Trained values and their positions."""

    index_K: Tensor
    values_K: Tensor


class Dropout(NamedTuple):
    """Which inputs of the low-rank branch are dropped. Drawn again in the backward pass, so that no copy is kept."""

    share: float
    key: int

    def __call__(self, x_NI: Tensor) -> Tensor:
        """Factors of x's shape: 0 where dropped, else 1 / (1 - share), so that the mean stays."""
        generator = torch.Generator(x_NI.device).manual_seed(self.key)
        keep = 1.0 - self.share
        return torch.empty_like(x_NI).bernoulli_(keep, generator=generator).div_(keep)


class Frozen(NamedTuple):
    """The weight that is not trained, and what is done with it."""

    weight: Weight
    fresh: bool = False
    """Whether `weight` gives a copy of its own that may be changed."""
    index_K: Tensor | None = None
    collect: Collect | None = None

    def plus(self, values_K: Tensor | None) -> Tensor:
        """W + S, shape (O, I)."""
        weight_OI = self.weight()
        if values_K is None:
            return weight_OI
        assert self.index_K is not None, "values without positions"
        return add_at_(weight_OI if self.fresh else weight_OI.clone(), self.index_K, values_K)


class _AdaptedProduct(torch.autograd.Function):
    """Frozen W (O, I); gradients for x, the bias, A, B and the values of S."""

    @staticmethod
    def forward(
        ctx,
        x_NI: Tensor,
        frozen: Frozen,
        bias_O: Tensor | None,
        a_RI: Tensor | None,
        b_OR: Tensor | None,
        scale: float,
        dropout: Dropout | None,
        values_K: Tensor | None,
    ) -> Tensor:
        low_NR = None
        if a_RI is not None:
            low_NR = (x_NI if dropout is None else dropout(x_NI).mul_(x_NI)) @ a_RI.t()
        y_NO = F.linear(x_NI, frozen.plus(values_K), bias_O)
        if low_NR is not None and b_OR is not None:
            y_NO.addmm_(low_NR, b_OR.t(), alpha=scale)
        ctx.save_for_backward(x_NI, low_NR, a_RI, b_OR, values_K)
        ctx.frozen, ctx.scale, ctx.dropout = frozen, scale, dropout
        return y_NO

    @staticmethod
    def backward(ctx, grad_NO: Tensor):
        x_NI, low_NR, a_RI, b_OR, values_K = ctx.saved_tensors
        frozen = ctx.frozen
        grad_x = grad_a = grad_b = grad_values = None
        grad_bias = grad_NO.sum(0) if ctx.needs_input_grad[2] else None
        if ctx.needs_input_grad[0]:
            grad_x = grad_NO @ frozen.plus(values_K)
        if low_NR is not None:
            grad_low_NR = (grad_NO @ b_OR).mul_(ctx.scale)
            factor_NI = None if ctx.dropout is None else ctx.dropout(x_NI)
            if grad_x is not None and factor_NI is None:
                grad_x.addmm_(grad_low_NR, a_RI)
            elif grad_x is not None:
                grad_x.add_((grad_low_NR @ a_RI).mul_(factor_NI))
            grad_a = grad_low_NR.t() @ (x_NI if factor_NI is None else factor_NI.mul_(x_NI))
            grad_b = (grad_NO.t() @ low_NR).mul_(ctx.scale)
        if values_K is not None and ctx.needs_input_grad[7]:
            grad_values = gradient_at(grad_NO, x_NI, frozen.index_K).to(values_K.dtype)
        if frozen.collect is not None:
            if grad_NO.dtype == torch.float16:  # a sum over all tokens may be more than fp16 holds
                grad_NO, x_NI = grad_NO.float(), x_NI.float()
            for first, block_MI in row_blocks(grad_NO, x_NI):
                frozen.collect(first, block_MI)
        return grad_x, None, grad_bias, grad_a, grad_b, None, None, grad_values


class AdaptedLinear(nn.Module):
    """Replaces one linear layer; the base weight is frozen and keeps its storage, and so does the bias, frozen or not.

    The base is nn.Linear, GPT-2's Conv1D (`transposed`: its weight lies as (I, O)), or a quantised layer, which has
    `dense(dtype)` in place of a float weight. Parts of a fused layer that have factors of their own are submodules
    (`c_attn.q.lora_A`), and there is no lora_A and lora_B beside them; dropout draws one mask for all of them.
    """

    base: Any
    lora_A: nn.Parameter | None
    """(R, I)"""
    lora_B: nn.Parameter | None
    """(O, R)"""
    sparse_index: Tensor | None
    """(K), int32: row * I + column, ascending; not a parameter, because nothing is trained about it."""
    sparse_values: nn.Parameter | None
    """(K), fp32."""
    collect: Collect | None = None
    """Where set, each backward pass gives it the gradient of the whole weight."""

    def __init__(
        self,
        base: nn.Module,
        *,
        lora_A: Tensor | None,
        lora_B: Tensor | None,
        scale: float,
        dropout: float,
        transposed: bool,
        sparse_index: Tensor | None = None,
        parts: Mapping[str, Part] | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        self.register_parameter("lora_A", None if lora_A is None else nn.Parameter(lora_A))
        self.register_parameter("lora_B", None if lora_B is None else nn.Parameter(lora_B))
        self.register_buffer("sparse_index", sparse_index)
        values = None if sparse_index is None else torch.zeros(len(sparse_index), device=sparse_index.device)
        self.register_parameter("sparse_values", None if values is None else nn.Parameter(values))
        self.scale = scale
        self.dropout = dropout
        self.transposed = transposed
        self.part_names = tuple(parts or ())
        for part, own in (parts or {}).items():
            self.add_module(part, own)

    @property
    def parts(self) -> dict[str, Part]:
        """Empty: the change is of the whole layer."""
        return {name: self._modules[name] for name in self.part_names}  # pyright: ignore[reportReturnType]

    @property
    def is_low_rank(self) -> bool:
        return self.lora_A is not None or bool(self.part_names)

    @property
    def rows_changed(self) -> tuple[slice, ...] | None:
        """None: all of them."""
        return tuple(part.rows for part in self.parts.values()) or None

    @property
    def weight(self) -> Tensor:
        """The base weight as it lies; some models read `layer.weight.dtype`."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    @property
    def shape(self) -> tuple[int, int]:
        """(O, I)"""
        return shape_of(self.base, transposed=self.transposed)

    @property
    def factors(self) -> Factors:
        """A and B of a layer that has them; of one with parts put together, so that what is written there is lost."""
        if self.part_names:
            return together(self.parts.values(), outputs=self.shape[0])
        assert self.lora_A is not None and self.lora_B is not None
        return Factors(self.lora_A, self.lora_B)

    @property
    def sparse(self) -> Sparse:
        """The sparse part of a layer that has one."""
        assert self.sparse_index is not None and self.sparse_values is not None
        return Sparse(self.sparse_index, self.sparse_values)

    def delta(self) -> Tensor:
        """s B A + S in fp32, in the layout of the base weight."""
        if self.is_low_rank:
            a_RI, b_OR = self.factors
            delta_OI = self.scale * (b_OR.float() @ a_RI.float())
        else:
            delta_OI = torch.zeros(self.shape, device=self.sparse.index_K.device)
        if self.sparse_values is not None:
            delta_OI = add_at_(delta_OI, *self.sparse)
        return delta_OI.t() if self.transposed else delta_OI

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The frozen weight, shape (O, I)."""
        if hasattr(self.base, "dense"):
            return self.base.dense(dtype)
        return (self.weight.t() if self.transposed else self.weight).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):
            x_NI = x.reshape(-1, x.shape[-1]).to(dtype)
            bias_O = None if self.bias is None else self.bias.to(dtype)
            a_RI, b_OR = (half.to(dtype) for half in self.factors) if self.is_low_rank else (None, None)
            dropout = None
            if self.dropout and self.training and self.is_low_rank:
                dropout = Dropout(self.dropout, int(torch.randint(2**62, ())))
            fresh = hasattr(self.base, "dense") or self.weight.dtype != dtype
            frozen = Frozen(lambda: self.dense(dtype), fresh, self.sparse_index, self.collect)
            y_NO = _AdaptedProduct.apply(x_NI, frozen, bias_O, a_RI, b_OR, self.scale, dropout, self.sparse_values)
            return y_NO.view(*x.shape[:-1], y_NO.shape[-1])


def shape_of(layer: Any, *, transposed: bool) -> tuple[int, int]:
    """(O, I) of a linear layer, quantised or not."""
    if hasattr(layer, "dense"):
        return tuple(layer.shape)
    return tuple(layer.weight.shape)[::-1] if transposed else tuple(layer.weight.shape)


def adapt(
    layer: nn.Module,
    *,
    name: str,
    seed: int,
    rank: int,
    scale: float,
    dropout: float,
    density: float,
    transposed: bool,
) -> AdaptedLinear:
    """The layer with a change that is zero at first: A as LoRA draws it, B zero, int(density * O * I) values of 0.

    Rank 0: no A and B. The positions are the first ones, until others are put there.

    Raises:
        ConfigError: the rank is larger than the matrix; the matrix has more entries than positions can say.
    """
    outputs, inputs = shape_of(layer, transposed=transposed)
    if rank > min(inputs, outputs):
        raise ConfigError(f"rank: {rank} is larger than the matrix of {name} ({outputs} x {inputs})")
    if density and inputs * outputs >= MOST_ENTRIES:
        raise ConfigError(f"density: {name} ({outputs} x {inputs}) has over 2^31 entries; leave it out of targets")
    device = next(iter([*layer.parameters(), *layer.buffers()])).device
    first = second = index_K = None
    if rank and device.type == "meta":
        first = torch.empty(rank, inputs, device=device)
    elif rank:
        first = torch.from_numpy(kaiming_uniform(seed=seed, name=f"{name}.lora_A", shape=(rank, inputs))).to(device)
    if rank:
        second = torch.zeros(outputs, rank, device=device)
    if count := int(density * outputs * inputs):
        index_K = torch.arange(count, dtype=torch.int32, device=device)
    return AdaptedLinear(
        layer,
        lora_A=first,
        lora_B=second,
        scale=scale,
        dropout=dropout,
        transposed=transposed,
        sparse_index=index_K,
    )


def adapted_layers(model: nn.Module) -> dict[str, AdaptedLinear]:
    """Module path -> layer."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}


def shallow_copy(layer: nn.Module) -> nn.Module:
    """A layer with the same parameters whose parameters can be replaced: another part of the model may hold the very
    same layer, and does not change with it."""
    own = copy.copy(layer)
    own._parameters = dict(layer._parameters)
    return own


def merge_adapted(model: nn.Module) -> None:
    """Put a plain layer of fp32 weights in each adapted one's place: the base, dequantised where it is quantised, plus
    the change. In place."""
    with torch.no_grad():
        for name, layer in adapted_layers(model).items():
            plain = layer.base
            if hasattr(plain, "plain"):
                plain = plain.plain(layer.dense(torch.float32) + layer.delta())
            else:
                weight, plain = plain.weight, shallow_copy(plain)
                plain.weight = nn.Parameter(weight.float() + layer.delta(), requires_grad=False)
            model.set_submodule(name, plain)
