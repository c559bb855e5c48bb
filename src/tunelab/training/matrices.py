"""Weights that are trained through projected gradients: how each hands its gradient over, and how it is moved."""
# O out, I in

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from tunelab.training.narrow.rounding import is_narrow, moved
from tunelab.training.ranks import is_cut, put_whole, whole


class Matrix(Protocol):
    """A weight that is trained through projected gradients."""

    shape: tuple[int, int]
    """(O, I)"""
    dtype: torch.dtype

    @property
    def device(self) -> torch.device: ...

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        """Have every gradient (O, I) computed, handed to `take` and not kept; returns what ends this."""
        ...

    def move(self, change: Callable[[Tensor], None], *, number: int = 0) -> None:
        """Let `change` work on the weight (O, I) in place, at update `number`."""


class FloatMatrix:
    """A parameter; `transposed` where it lies as (I, O)."""

    def __init__(self, parameter: nn.Parameter, *, transposed: bool) -> None:
        self.parameter, self.transposed = parameter, transposed
        outputs, inputs = self._oriented(parameter).shape
        self.shape = outputs, inputs
        self.dtype, self.device = parameter.dtype, parameter.device

    def _oriented(self, tensor: Tensor) -> Tensor:
        return tensor.t() if self.transposed else tensor

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        def hook(parameter: nn.Parameter) -> None:
            assert parameter.grad is not None
            take(self._oriented(parameter.grad))
            parameter.grad = None

        self.parameter.requires_grad_(True)
        return self.parameter.register_post_accumulate_grad_hook(hook).remove

    def move(self, change: Callable[[Tensor], None], *, number: int = 0) -> None:
        with torch.no_grad():
            change(self._oriented(self.parameter))


class NarrowMatrix(FloatMatrix):
    """A parameter in bf16: its gradients are handed over in fp32, and it is moved as a copy in fp32, which is rounded
    into it at random (training/narrow/rounding.py)."""

    def __init__(self, parameter: nn.Parameter, *, transposed: bool, key: int) -> None:
        super().__init__(parameter, transposed=transposed)
        self.dtype, self.key = torch.float32, key

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        return super().watch(lambda grad_OI: take(grad_OI.float()))

    def move(self, change: Callable[[Tensor], None], *, number: int = 0) -> None:
        with moved(self.parameter, key=self.key, number=number) as weight:
            change(self._oriented(weight))


class CutMatrix(FloatMatrix):
    """A parameter of which each rank holds a part. One matrix at a time is whole: its gradient, summed over ranks by
    FSDP2, while it is projected, and the weight while it moves. What is projected is the same on every rank."""

    def watch(self, take: Callable[[Tensor], None]) -> Callable[[], None]:
        def hook(parameter: nn.Parameter) -> None:
            take(self._oriented(whole(parameter.grad)))
            parameter.grad = None

        self.parameter.requires_grad_(True)
        return self.parameter.register_post_accumulate_grad_hook(hook).remove

    def move(self, change: Callable[[Tensor], None], *, number: int = 0) -> None:
        with torch.no_grad():
            weight = whole(self.parameter)
            change(self._oriented(weight))
            put_whole(self.parameter, weight)


def matrix_of(parameter: nn.Parameter, *, transposed: bool, key: int = 0) -> FloatMatrix:
    """`key`: of the draws by which a narrow one is rounded."""
    if is_narrow(parameter):
        return NarrowMatrix(parameter, transposed=transposed, key=key)
    return (CutMatrix if is_cut(parameter) else FloatMatrix)(parameter, transposed=transposed)
