"""What the operations of a trace would take: products by shape, bytes of everything else, and how many there are."""
# N rows, I inputs, O outputs of a product

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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
    "aten::rand": "draw", "aten::randn": "draw", "aten::rand_like": "draw",
    "bitsandbytes::quantize_blockwise": "quantise", "bitsandbytes::optimizer_update_8bit_blockwise": "quantise",
}  # fmt: skip
"""Of operations that are bound by arithmetic: what they are timed by. All others are a reading and a writing."""
SUMS = (
    aten.sum.default, aten.sum.dim_IntList, aten.mean.default, aten.mean.dim, aten.prod.default, aten.prod.dim_int,
    aten.cumsum.default, aten.linalg_vector_norm.default,
)  # fmt: skip
CONDITIONS = {
    aten.where.self: 0, aten.where.ScalarOther: 0, aten.where.ScalarSelf: 0, aten.masked_fill.Scalar: 1,
}  # fmt: skip
"""Which of the tensors is one, so of another type than the rest."""


class Within(NamedTuple):
    """Of an operation that does more than it is given, for each number of one of its tensors; on a CPU, measured."""

    place: int
    """Of that tensor among its arguments."""
    bytes_moved: float
    """As many take as long."""
    copies: int
    """In fp32, that it holds at most."""


WITHIN = {"bitsandbytes::optimizer_update_8bit_blockwise": Within(1, 13.5, 5)}
"""bitsandbytes 0.50: two quantisations of 5 bytes, two times back and a dozen passes, as long as 2.7 quantisations."""


class Work(NamedTuple):
    """Of one operation."""

    products: tuple[tuple[Product, int], ...] = ()
    function: Function = "move"
    dtype: str = "fp32"
    num_bytes: int = 0
    """Read and written, of what is no product."""
    within: int = 0
    """Bytes that it takes beside what it makes and gives back before it ends, on a CPU."""


class Counted:
    """Added up by moment."""

    def __init__(self) -> None:
        self._products: defaultdict[str, Counter[Product]] = defaultdict(Counter)
        self._passes: defaultdict[str, Counter[Pass]] = defaultdict(Counter)
        self._operations = Counter[str]()
        self.modules = Counter[str]()

    def add(self, moment: str, work: Work, *, fixed: bool) -> None:
        """`fixed`: all that was read follows from the weights alone, whatever the batch."""
        self._operations[moment] += 1
        for product, times in work.products:
            self._products[moment][product] += times
        if work.num_bytes:
            size = work.num_bytes.bit_length() - 1
            self._passes[moment][Pass(work.function, work.dtype, size, fixed)] += work.num_bytes

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


def work_of(func: Any, args: Any, made: Any, given: Sequence[Tensor]) -> Work:
    """`given`: all tensors among its arguments, named ones too."""
    name = func._schema.name
    if func.is_view or name in NOTHING:
        return Work()
    if (products := PRODUCTS.get(func)) is not None:
        return Work(tuple(each for each in products(args, made) if each[0].shape.flops and each[1]))
    if (within := WITHIN.get(name)) is not None:
        numbers = args[within.place].numel()
        return Work((), FUNCTIONS[name], "fp32", int(numbers * within.bytes_moved), 4 * numbers * within.copies)
    read, written = ([each for each in tree_leaves(side) if isinstance(each, Tensor)] for side in (args, made))
    if not (size := sum(map(_num_bytes, [*read, *written]))):
        return Work()
    dtype = DTYPES.get((read or written)[0].dtype, "fp32")
    return Work((), FUNCTIONS.get(name, "move"), dtype, size, _copied(func, args, read, written, given))


def _copied(func: Any, args: Any, read: list[Tensor], written: list[Tensor], given: Sequence[Tensor]) -> int:
    """Bytes: where types differ, a CPU's operation over numbers, one by one, first makes copies in the type that all of
    them become; so does a sum in another type than its numbers'."""
    if not read or not written:
        return 0
    if func in SUMS:
        return 0 if written[0].dtype == read[0].dtype else read[0].numel() * written[0].dtype.itemsize
    if torch.Tag.pointwise not in func.tags:
        return 0
    wide = [each for place, each in enumerate(read) if each.dim() and place != CONDITIONS.get(func)]
    mine = [each for each in written if any(each is other for other in given)]
    types = [each.dtype for each in wide]
    if any(isinstance(each, float) for each in args):
        types += [torch.get_default_dtype()] if not any(each.is_floating_point for each in types) else []
    if not mine and written[0].dtype != torch.bool:
        types.append(written[0].dtype)
    if not types or len({*types, *(each.dtype for each in mine)}) < 2:
        return 0
    common = functools.reduce(torch.promote_types, types)
    return sum(each.numel() for each in (*wide, *mine) if each.dtype != common) * common.itemsize


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
