"""Trained values at fixed positions of a frozen matrix: adding them to it, their gradient, and choosing the positions.

A position is one int32: row * I + column of the (O, I) matrix, whatever way the weight lies in memory. A dense
gradient of the matrix exists for one block of rows at a time (Nikdan et al. 2024, arXiv:2401.04679, add and sample
with CUDA kernels of their own; here both are torch's operations).
"""
# N rows of the input (B * T), I in, O out, K positions, M rows of one block

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

BLOCK = 2**23
"""Entries of the largest dense block of a gradient: 32 MiB in fp32, two thousand rows of a 4096 x 4096 matrix."""
MOST_ENTRIES = 2**31
"""A matrix this large has positions that int32 cannot say."""

Score = Literal["mean_squared", "mean"]
"""mean_squared: the mean of g^2 over examples (empirical Fisher diagonal). mean: |mean of g|."""


def add_at_(weight_OI: Tensor, index_K: Tensor, values_K: Tensor) -> Tensor:
    """Add the values at their positions, in place. The matrix, or its transpose, must be contiguous."""
    if not weight_OI.is_contiguous():
        outputs, inputs = weight_OI.shape
        index_K = index_K % inputs * outputs + index_K // inputs
    flat = (weight_OI if weight_OI.is_contiguous() else weight_OI.t()).view(-1)
    flat.index_add_(0, index_K, values_K.to(flat.dtype))
    return weight_OI


def gradient_at(grad_NO: Tensor, x_NI: Tensor, index_K: Tensor) -> Tensor:
    """grad^T x at the positions only, shape (K,); float32, or float64 for float64 inputs."""
    wide = torch.float64 if grad_NO.dtype == torch.float64 else torch.float32
    if not has_numbers(grad_NO):
        return grad_NO.new_empty(len(index_K), dtype=wide)
    if grad_NO.device.type == "cpu":  # torch samples fp32 and fp64 there, several times faster than a dense product
        return _sampled(grad_NO.to(wide), x_NI.to(wide), index_K)
    return _gathered(grad_NO, x_NI, index_K).to(wide)


def _sampled(grad_NO: Tensor, x_NI: Tensor, index_K: Tensor) -> Tensor:
    outputs, inputs = grad_NO.shape[1], x_NI.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            row_pointers(index_K, shape=(outputs, inputs)).long(),  # int32 is a quarter slower
            (index_K % inputs).long(),
            grad_NO.new_zeros(len(index_K)),
            (outputs, inputs),
            check_invariants=False,
        )
    return torch.sparse.sampled_addmm(pattern, grad_NO.t(), x_NI, beta=0.0).values()


def _gathered(grad_NO: Tensor, x_NI: Tensor, index_K: Tensor) -> Tensor:
    """Block after block of the dense product, the wanted entries taken out of each."""
    inputs, taken = x_NI.shape[1], []
    firsts = range(0, grad_NO.shape[1], _rows_of_a_block(inputs))
    begins = [0]
    if len(firsts) > 1:  # asking a device where they begin waits for it
        begins = torch.searchsorted(index_K, index_K.new_tensor([first * inputs for first in firsts])).tolist()
    ends = [*begins[1:], len(index_K)]
    for (first, block_MI), begin, end in zip(row_blocks(grad_NO, x_NI), begins, ends, strict=True):
        taken.append(block_MI.view(-1)[index_K[begin:end] - first * inputs])
    return torch.cat(taken)


def row_blocks(grad_NO: Tensor, x_NI: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The dense gradient grad^T x, shape (O, I), as (first row, block (M, I)); each block is free before the next."""
    rows = _rows_of_a_block(x_NI.shape[1])
    for first in range(0, grad_NO.shape[1], rows):
        yield first, grad_NO[:, first : first + rows].t() @ x_NI


def _rows_of_a_block(inputs: int) -> int:
    return max(1, BLOCK // inputs)


class Scores:
    """How much each entry of one matrix matters, from gradients given block after block, example after example."""

    def __init__(self, shape: tuple[int, int], score: Score, *, scale: float = 1.0) -> None:
        """`scale`: by what the gradients that come are multiplied (fp16's loss scale)."""
        self.score, self.scale = score, scale
        self.total_OI = torch.zeros(shape)
        """fp32, on the CPU: it outlives a backward pass, and the device's memory is for the model."""

    def add(self, first: int, block_MI: Tensor) -> None:
        rows_MI = self.total_OI[first : first + len(block_MI)]
        block_MI = block_MI.to("cpu", torch.float32)
        if self.scale != 1.0:
            block_MI = block_MI / self.scale
        if self.score == "mean_squared":
            rows_MI.addcmul_(block_MI, block_MI)
        else:
            rows_MI.add_(block_MI)

    def top(self, count: int) -> Tensor:
        """Positions of the `count` highest scores, int32, ascending. The mean's divisor changes no order."""
        chosen_K = self.total_OI.abs().view(-1).topk(count, sorted=False).indices
        return chosen_K.sort().values.to(torch.int32)


def row_pointers(index_K: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """int32, shape (O + 1): where each row's positions begin (CSR)."""
    rows_K = index_K // shape[1]
    every = torch.arange(shape[0] + 1, dtype=rows_K.dtype, device=rows_K.device)
    return torch.searchsorted(rows_K, every, out_int32=True)


def compressed(index_K: Tensor, *, shape: tuple[int, int]) -> dict[str, Tensor]:
    """Positions as they are saved: `columns` (K; uint16 where I allows it, else int32), `rows` (O + 1) pointers."""
    narrow = torch.uint16 if shape[1] <= 2**16 else torch.int32
    return {"columns": (index_K % shape[1]).to(narrow), "rows": row_pointers(index_K, shape=shape)}


def expanded(columns_K: Tensor, rows: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """The positions, int32, that `compressed` gave.

    Raises:
        ValueError: they are no positions of such a matrix.
    """
    outputs, inputs = shape
    columns_K, counts = columns_K.to(torch.int64), rows.diff()
    if len(rows) != outputs + 1 or int(rows[0]) != 0 or int(rows[-1]) != len(columns_K) or bool((counts < 0).any()):
        raise ValueError(f"the row pointers are not those of {outputs} rows and {len(columns_K)} positions")
    index_K = torch.repeat_interleave(torch.arange(outputs) * inputs, counts) + columns_K
    if bool((columns_K >= inputs).any()) or bool((columns_K < 0).any()) or bool((index_K.diff() <= 0).any()):
        raise ValueError(f"the columns are not ascending numbers below {inputs}")
    return index_K.to(torch.int32)


def in_passes(layers: Mapping[str, Any], *, limit: int) -> list[dict[str, Any]]:
    """Layers, each with a `shape` (O, I), in order, as many at a time as have `limit` weights together; a larger one
    alone."""
    passes: list[dict[str, Any]] = []
    room = 0
    for name, layer in layers.items():
        size = layer.shape[0] * layer.shape[1]
        if size > room or not passes:
            passes.append({})
            room = limit
        passes[-1][name] = layer
        room -= size
    return passes


def has_numbers(tensor: Tensor) -> bool:
    """False on the meta device and of fake tensors: code that reads memory itself must ask."""
    return tensor.device.type != "meta" and type(tensor).__name__ != "FakeTensor"
