"""What an operation on fake tensors gives, remembered by the shapes that it is given.

torch remembers it, too, but asks of each call all that it might depend on, and follows some operations (unsafe views,
several outputs, operators of libraries) anew each time. A trace is some thousand calls of a few hundred kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from tunelab.backends.torch.foresight.effort import Work, work_of

PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
"""Of which a result depends by their value."""
NEVER = ("aten::resize_", "aten::set_", "inductor::resize_storage_bytes_")
TAGS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view)
MOST = 20_000
"""Results that are remembered at once."""
CPU = torch.device("cpu")


class Output(NamedTuple):
    """A tensor that an operation gives."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    of: int | None
    """The place of the tensor whose storage it has among those that are given; None: a new one."""


Outputs = Output | int | None | list[Any]
"""An int: the tensor itself at that place."""


class Result(NamedTuple):
    made: Outputs
    kind: type | None
    """Of the sequence of outputs."""
    work: Work


class Asked:
    """One call."""

    def __init__(self, func: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> None:
        self._key: list[Any] = [func, torch.get_default_dtype()]
        self.given: list[Tensor] = []
        self._places: dict[int, int] = {}
        """Of tensors by their identity: a tensor that is given twice is not two of the same shape."""
        self.is_plain = self._read(args)
        self.read = len(self.given)
        """So many of the tensors are no named arguments."""
        if kwargs:
            self._key.extend(kwargs)
            self.is_plain = self._read(kwargs.values()) and self.is_plain

    @property
    def key(self) -> tuple[Any, ...]:
        return tuple(self._key)

    def _read(self, values: Iterable[Any]) -> bool:
        """Whether all of it can be remembered by."""
        plain, add = True, self._key.append
        for value in values:
            kind = type(value)
            if kind is FakeTensor:
                place = self._places.setdefault(id(value), len(self.given))
                self.given.append(value)
                if _is_ordinary(value):
                    add((place, value.shape, value.stride(), value.storage_offset(), value.dtype))
                else:
                    plain = False
            elif kind in PLAIN:
                add((kind, value))
            elif kind is list or kind is tuple:
                add((kind, len(value)))
                plain = self._read(value) and plain
            else:
                if isinstance(value, Tensor):
                    self.given.append(value)
                plain = False
        return plain


def _is_ordinary(value: FakeTensor) -> bool:
    if value.layout is not torch.strided or value.constant is not None or value.fake_device != CPU:
        return False
    return not (value.is_inference() or value.is_conj() or value.is_neg())


_KNOWN: dict[tuple[Any, ...], Result | None] = {}
"""None: what cannot be remembered."""


def answer(mode: FakeTensorMode | None, func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Work, list[Tensor]]:
    """What it gives, what it takes, and the tensors that it reads."""
    asked = Asked(func, args, kwargs)
    if mode is None or not asked.is_plain or not _is_on(mode):
        made = func(*args, **kwargs)
        return made, work_of(func, args, made, asked.given), asked.given[: asked.read]
    key = asked.key
    result = _KNOWN.get(key)
    if result is not None:
        made = _again(mode, result, asked.given)
        return made, result.work, asked.given[: asked.read]
    made = func(*args, **kwargs)
    work = work_of(func, args, made, asked.given)
    if key not in _KNOWN:
        if len(_KNOWN) >= MOST:
            _KNOWN.clear()
        same = Asked(func, args, kwargs)
        _KNOWN[key] = _result(func, made, asked.given, work) if same.is_plain and same.key == key else None
    return made, work, asked.given[: asked.read]


def _is_on(mode: FakeTensorMode) -> bool:
    """Not while it is left for a while to make real tensors, nor where new ones are of inference mode."""
    active = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)  # pyright: ignore[reportAttributeAccessIssue]
    return active is mode and not torch.is_inference_mode_enabled()


def _again(mode: FakeTensorMode, result: Result, given: list[Tensor]) -> Any:
    if result.kind is None:
        return _tensor(mode, result.made, given)
    assert isinstance(result.made, list)
    return result.kind(_tensor(mode, each, given) for each in result.made)


def _tensor(mode: FakeTensorMode, output: Outputs, given: list[Tensor]) -> Any:
    if not isinstance(output, Output):
        return None if output is None else given[output]  # pyright: ignore[reportCallIssue, reportArgumentType]
    storage = None if output.of is None else given[output.of].untyped_storage()
    with in_kernel_invocation_manager(mode):
        empty = torch.empty_strided(output.shape, output.stride, dtype=output.dtype, device="meta")
        if storage is not None:
            empty.set_(storage, output.offset, output.shape, output.stride)
    return FakeTensor(mode, empty, CPU)


def _result(func: Any, made: Any, given: list[Tensor], work: Work) -> Result | None:
    """None: it would not be the same again."""
    if not isinstance(func, torch._ops.OpOverload) or func._schema.name in NEVER or any(t in func.tags for t in TAGS):
        return None
    kind = type(made) if type(made) in (list, tuple) else None
    outputs = [_output(each, given) for each in (made if kind else (made,))]
    if any(each is Ellipsis for each in outputs):
        return None
    return Result(outputs if kind else outputs[0], kind, work)


def _output(made: Any, given: list[Tensor]) -> Any:
    """Ellipsis: none of these."""
    if made is None:
        return None
    for place, each in enumerate(given):
        if made is each:
            return place
    if type(made) is not FakeTensor or not _is_ordinary(made):
        return Ellipsis
    storage = made.untyped_storage()
    of = {place for place, each in enumerate(given) if each.untyped_storage()._cdata == storage._cdata}
    whole = Output(tuple(made.shape), made.stride(), int(made.storage_offset()), made.dtype, next(iter(of), None))
    if len(of) > 1 or (not of and (whole.offset or storage.nbytes() != _num_bytes(whole))):
        return Ellipsis
    return whole


def _num_bytes(output: Output) -> int:
    if 0 in output.shape:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(output.shape, output.stride, strict=True))
    return (last + 1) * output.dtype.itemsize
