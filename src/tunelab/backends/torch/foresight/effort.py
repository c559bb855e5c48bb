"""What the operations of a trace would take: products by shape, bytes of everything else, and how many there are."""
# N rows, I inputs, O outputs of a product

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tunelab.computation.effort import Effort, Function, Pass, Product, Shape

aten: Any = torch.ops.aten
DTYPES: dict[torch.dtype, str] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
NOTHING = {
    "aten::empty", "aten::empty_like", "aten::new_empty", "aten::empty_strided", "aten::detach", "aten::alias",
    "aten::_unsafe_view", "aten::resize_", "aten::lift_fresh", "aten::_local_scalar_dense", "aten::set_",
    "aten::new_empty_strided", "aten::is_same_size", "aten::sym_size",
}  # fmt: skip
"""Operations that move no numbers, beside those that torch knows as views."""


FUNCTIONS: dict[str, Function] = {
    "aten::silu": "silu", "aten::silu_": "silu", "aten::silu_backward": "silu", "aten::sigmoid": "silu",
    "aten::gelu": "gelu", "aten::gelu_backward": "gelu", "aten::tanh": "gelu", "aten::tanh_": "gelu",
    "aten::erf": "gelu", "aten::exp": "exp", "aten::exp_": "exp", "aten::log": "exp", "aten::pow": "move",
    "aten::_softmax": "softmax", "aten::_softmax_backward_data": "softmax", "aten::_log_softmax": "softmax",
    "aten::logsumexp": "softmax", "aten::native_layer_norm": "norm", "aten::native_layer_norm_backward": "norm",
    "aten::_fused_rms_norm": "norm", "aten::_fused_rms_norm_backward": "norm", "aten::_to_copy": "cast",
    "aten::uniform_": "draw", "aten::bernoulli_": "draw", "aten::normal_": "draw", "aten::native_dropout": "draw",
}  # fmt: skip
"""Of operations that are bound by arithmetic: what they are timed by. All others are a reading and a writing."""


class Counted:
    """Added up by moment."""

    def __init__(self) -> None:
        self._products: defaultdict[str, Counter[Product]] = defaultdict(Counter)
        self._passes: defaultdict[str, Counter[Pass]] = defaultdict(Counter)
        self._operations = Counter[str]()
        self.modules = Counter[str]()

    def add(self, moment: str, func: Any, args: Any, made: Any, is_fixed: Callable[[Tensor], bool]) -> bool:
        """`is_fixed`: whether a tensor follows from the weights alone, whatever the batch. Returns whether all that
        was made does."""
        name = func._schema.name
        read = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
        fixed = bool(read) and all(map(is_fixed, read))
        self._operations[moment] += 1
        if func.is_view or name in NOTHING:
            return fixed
        if (products := PRODUCTS.get(func)) is not None:
            for product, times in products(args, made):
                if product.shape.flops and times:
                    self._products[moment][product] += times
            return fixed
        tensors = [*read, *(each for each in tree_leaves(made) if isinstance(each, Tensor))]
        if size := sum(map(_num_bytes, tensors)):
            dtype = DTYPES.get(tensors[0].dtype, "fp32")
            self._passes[moment][Pass(FUNCTIONS.get(name, "move"), dtype, size.bit_length() - 1, fixed)] += size
        return fixed

    def efforts(self) -> dict[str, Effort]:
        return {
            moment: Effort(
                tuple(sorted(self._products[moment].items())),
                tuple(sorted(self._passes[moment].items())),
                number,
                self.modules[moment],
            )
            for moment, number in self._operations.items()
        }


def _num_bytes(tensor: Tensor) -> int:
    """What is expanded is read once."""
    if tensor.layout is not torch.strided:
        return 0
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1
    return numbers * tensor.element_size()


Found = Iterable[tuple[Product, int]]


def _two(left: Tensor, right: Tensor) -> Found:
    *batch, rows, inputs = left.shape
    yield Product(DTYPES.get(left.dtype, "fp32"), Shape(rows, inputs, right.shape[-1], math.prod(batch))), 1


def _attention(args: Any, made: Any) -> Found:
    return _attended(args[0], args[1], args[2])


def _attention_backward(args: Any, made: Any) -> Found:
    return _attended(args[1], args[2], args[3], backward=True)


def _attended(query: Tensor, key: Tensor, value: Tensor, *, backward: bool = False) -> Found:
    """Scores and the weighted sum; backward the scores once more and four products."""
    *batch, queries, width = query.shape
    keys, out, heads = key.shape[-2], value.shape[-1], math.prod(batch)
    dtype = DTYPES.get(query.dtype, "fp32")
    yield Product(dtype, Shape(queries, width, keys, heads)), 3 if backward else 1
    yield Product(dtype, Shape(queries, keys, out, heads)), 2 if backward else 1


def _first(args: Any, made: Any) -> Found:
    return _two(args[0], args[1])


def _second(args: Any, made: Any) -> Found:
    return _two(args[1], args[2])


PRODUCTS: dict[Any, Callable[[Any, Any], Found]] = {
    aten.mm.default: _first,
    aten.mm.out: _first,
    aten.bmm.default: _first,
    aten.bmm.out: _first,
    aten.addmm.default: _second,
    aten.addmm.out: _second,
    aten.addmm_.default: _second,
    aten.baddbmm.default: _second,
    aten.baddbmm_.default: _second,
    aten._scaled_dot_product_flash_attention_for_cpu.default: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_backward,
}
