"""Processes that train one model together: how many there are, and what they sum. Every other file asks here.

Gradients are summed once a step, not by DistributedDataParallel: its reducer counts on one backward pass of the wrapped
forward with the same parameters on every rank. Here the loss uses the output head's weight outside of the forward,
projected methods drop gradients in hooks, and ranks go through different numbers of micro-batches, some through none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

BUCKET = 25 * 1024**2
"""Bytes that are summed at a time: small tensors are joined up to this."""

_alone = False


def num_ranks() -> int:
    """1 too where this rank works alone (`alone`)."""
    return distributed.get_world_size() if _started() and not _alone else 1


def rank() -> int:
    return distributed.get_rank() if _started() and not _alone else 0


def _started() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def alone() -> Iterator[None]:
    """What happens inside is this rank's own: nothing is summed, because the others do not take part."""
    global _alone
    _alone, before = True, _alone
    try:
        yield
    finally:
        _alone = before


def is_cut(tensor: Any) -> bool:
    """Whether each rank holds a part of it (FSDP2). The gradients of such parameters are summed by FSDP2 itself."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """All of a tensor that is cut: every rank must ask for it."""
    return tensor.full_tensor() if is_cut(tensor) else tensor


def cut_like(tensor: Any, value: Tensor) -> Any:
    """A whole value, which every rank has, cut as this tensor is."""
    from torch.distributed.tensor import distribute_tensor

    value = value.to(tensor.to_local().device)
    return distribute_tensor(value, tensor.device_mesh, tensor.placements, src_data_rank=None)


def put_whole(tensor: Tensor, value: Tensor) -> None:
    """Copy a whole value into a tensor: into this rank's part where it is cut."""
    with torch.no_grad():
        tensor.copy_(cut_like(tensor, value) if is_cut(tensor) else value)


def sum_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Sum in place: the loss is divided by the tokens of all ranks beforehand."""
    if num_ranks() > 1:
        for bucket in _buckets(tensors):
            if len(bucket) == 1 and bucket[0].is_contiguous():
                distributed.all_reduce(bucket[0])
                continue
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            distributed.all_reduce(flat)
            for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view(tensor.shape))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """In order, of one kind of values each; a larger tensor alone."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        fits = bucket and size + tensor.nbytes <= BUCKET and bucket[0].dtype == tensor.dtype
        if bucket and not (fits and bucket[0].device == tensor.device):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients of one step. Where a parameter has one on some ranks only, the others add zeros; where none
    has, it stays without."""
    if num_ranks() == 1:
        return
    own = [parameter for parameter in parameters if not is_cut(parameter)]
    present = somewhere([parameter.grad is not None for parameter in own])
    with torch.no_grad():
        for parameter, there in zip(own, present, strict=True):
            if there and parameter.grad is None:
                parameter.grad = torch.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)
    sum_over_ranks([parameter.grad for parameter in own if parameter.grad is not None])


def somewhere(flags: Sequence[bool]) -> list[bool]:
    """Each flag: whether it is set on any rank."""
    if num_ranks() == 1 or not flags:
        return list(flags)
    own = torch.tensor(flags, dtype=torch.uint8)
    found = [torch.empty_like(own) for _ in range(num_ranks())]
    distributed.all_gather(found, own)
    return torch.stack(found).any(0).tolist()


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm over all of them. Of those that are cut the parts of all ranks count."""
    cut = [tensor for tensor in tensors if is_cut(tensor)]
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors):  # whose own norm would be in bf16 too
        return torch.stack([torch.linalg.vector_norm(tensor, dtype=torch.float32) for tensor in tensors]).norm()
    if not cut:
        return nn.utils.get_total_norm(tensors)
    norm_of_cut = whole(nn.utils.get_total_norm(cut))
    rest = [tensor for tensor in tensors if not is_cut(tensor)]
    return torch.hypot(norm_of_cut, nn.utils.get_total_norm(rest)) if rest else norm_of_cut


def clip(parameters: Sequence[nn.Parameter], max_norm: float, norm: Tensor) -> None:
    """Scale their gradients, of which `norm` is the norm, as one vector."""
    nn.utils.clip_grads_with_norm_([parameter for parameter in parameters if not is_cut(parameter)], max_norm, norm)
    cut: list[Any] = [parameter.grad for parameter in parameters if is_cut(parameter)]
    for grad in cut:
        if grad is not None:
            grad.to_local().mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
