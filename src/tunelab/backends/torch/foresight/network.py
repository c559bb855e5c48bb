"""A model with its method attached, of fake tensors: as `loading` makes it, without weights and without memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

from tunelab.backends.torch.foresight.live import GRADIENTS, HEAD, STATE, Live
from tunelab.backends.torch.inputs import Inputs
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import set_storage
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.models.added_tokens import check_trained, reserve_rows
from tunelab.models.load import skeleton
from tunelab.records import Batch


class TracedSession(TorchSession):
    """Says to `live` what is done, and for what the tensors are."""

    live: Live
    fixed: set[int]
    """Storages of the weights."""

    def accumulate(self, batch: Batch, *, denominator: float, last: bool) -> Tensor:
        loss = super().accumulate(batch, denominator=denominator, last=last)
        gradients = (each.grad for each in self.model.parameters() if each.grad is not None)
        self.live.settle(map(self.live.add, gradients), GRADIENTS)
        return loss

    def _inputs(self, batch: Batch) -> Inputs:
        with unset_fake_temporarily():  # numbers that are known: where documents lie, how long they are
            return super()._inputs(batch)

    def gradient_norm(self) -> float:
        self.live.moment += ", update"
        return super().gradient_norm()

    def update(self, *, learning_rate: float, max_norm: float | None) -> None:
        super().update(learning_rate=learning_rate, max_norm=max_norm)
        self.live.settle(self.live.alive() - self.fixed, STATE)

    def _head_loss(self, *head: Any, **settings: float) -> Tensor:
        with self.live.labelled(HEAD):
            return super()._head_loss(*head, **settings)


class NoText:
    """In the place of a tokenizer: rows are made of numbers."""

    pad_token_id = 0


def traced_session(
    run: RunConfig, method: Method | None, configuration: dict[str, Any], mode: FakeTensorMode, *, on_gpu: bool
) -> TracedSession:
    """On the path that a run takes where `verify` finds nothing; its updater is still to be made (`restart`).

    Raises:
        ConfigError: a method that does not fit the model.
        NotImplementedError: its layers cannot be made without weights.
    """
    model = skeleton(configuration)
    if run.model.tokens:
        reserve_rows(model, run.model)
    if method is None:
        model.requires_grad_(False)
    else:
        model = method.attach(model, seed=run.seed)
        check_trained(model, method)
    set_storage(model, precision=run.precision, weights=run.weights, seed=run.seed)
    if run.activation_checkpointing and (method is None or method.trains):
        from tunelab.backends.torch.loading import checkpoint_activations

        checkpoint_activations(model)
    # Vectors have numbers at first: which layers are replaced by faster ones is found by trying them.
    _fill(model, lambda tensor: _drawn(tensor) if tensor.ndim < 2 and _is_small(tensor) else _fake(tensor, mode))
    session = TracedSession(model, method, run, NoText(), [])
    session.one_row, session.faster, _ = (False, None, "") if on_gpu else session._ways()[0]
    session.fast = session.plain_head = True
    _fill(model, lambda tensor: tensor if isinstance(tensor, FakeTensor) else _fake(tensor, mode))
    return session


def trained(run: RunConfig, method: Method, configuration: dict[str, Any]) -> int:
    """Numbers that the method trains of the whole model."""
    model = method.attach(skeleton(configuration), seed=run.seed)
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def _is_small(tensor: Tensor) -> bool:
    """The scales of quantised weights are vectors of millions."""
    return tensor.numel() < 2**16


def _drawn(tensor: Tensor) -> Tensor:
    return torch.rand(tensor.shape).to(tensor.dtype)


def _fake(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    with mode:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


def _fill(model: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    """Every parameter and buffer; tied ones stay one."""
    known: dict[int, Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in known:
                    known[id(tensor)] = _filled(tensor, fill)
                held[name] = known[id(tensor)]  # pyright: ignore[reportArgumentType]


def _filled(tensor: Tensor, fill: Callable[[Tensor], Tensor]) -> Tensor:
    new = fill(tensor.data)
    return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
