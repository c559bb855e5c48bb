"""EVA: A of a low-rank product starts from the principal components of what its layer is given, B from zero (Paischer
et al. 2024, arXiv:2410.07170).

Its authors find them by an incremental SVD, batch after batch; here they are those of all tokens at once, exactly. EVA
moves rank from layers with little variance to others; here each layer keeps its own (their rho = 1).
"""
# I = in features, N = tokens, R = rank

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tunelab.backend_contract import Order, Session
from tunelab.errors import RunError
from tunelab.kernels.adapted_linear import AdaptedLinear, adapted_layers
from tunelab.kernels.sparse import in_passes
from tunelab.records import Batch
from tunelab.training.starts.whole_gradients import first_examples

AT_ONCE = 2**28
"""Entries of all covariances that are held at a time, on the layers' device (2 GiB)."""


def start_from_inputs(session: Session, order: Order, *, examples: int | None) -> None:
    """Before step 1: every adapted layer's A from its inputs over single examples, all their tokens. As many layers at
    a time as fit; each pass sees the same examples.

    Raises:
        RunError: a layer was given fewer tokens than its rank.
    """
    rows = first_examples(order, number=1, examples=examples)
    layers = adapted_layers(session.model)
    for seen in in_passes({name: Covariance(layer.shape[1]) for name, layer in layers.items()}, limit=AT_ONCE):
        with _added_to(seen, layers):
            for row in rows:
                session.evaluate([Batch((row,))])
        while seen:
            name = next(iter(seen))
            _start(name, layers[name], seen.pop(name))
    session.restart()


class Covariance:
    """Of inputs, added up pass after pass."""

    def __init__(self, num_inputs: int) -> None:
        self.shape = (num_inputs, num_inputs)
        self.num_tokens = 0
        self._sum_I: Tensor | float = 0.0
        self._products_II: Tensor | float = 0.0

    def add(self, inputs: Tensor) -> None:
        """(..., I)."""
        inputs_NI = inputs.detach().flatten(0, -2).double()
        self.num_tokens += len(inputs_NI)
        self._sum_I = self._sum_I + inputs_NI.sum(0)
        self._products_II = self._products_II + inputs_NI.t() @ inputs_NI

    def components(self, rank: int) -> Tensor:
        """Unit vectors along which inputs vary most, (R, I) fp32, the largest first. Of either sign that whose largest
        entry is positive: libraries differ in it."""
        assert isinstance(self._sum_I, Tensor) and isinstance(self._products_II, Tensor)
        centred_II = self._products_II - torch.outer(self._sum_I, self._sum_I) / self.num_tokens
        components_RI = torch.linalg.eigh(centred_II).eigenvectors[:, -rank:].flip(1).t()
        largest_R1 = components_RI.gather(1, components_RI.abs().argmax(1, keepdim=True))
        return (components_RI * largest_R1.sign()).float()


@contextmanager
def _added_to(seen: Mapping[str, Covariance], layers: Mapping[str, AdaptedLinear]) -> Iterator[None]:
    """What these layers are given, while the context lasts."""

    def looking(covariance: Covariance) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda layer, given: covariance.add(given[0])

    hooks = [layers[name].register_forward_pre_hook(looking(covariance)) for name, covariance in seen.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _start(name: str, layer: AdaptedLinear, covariance: Covariance) -> None:
    own_RI = layer.factors.a_RI
    if covariance.num_tokens <= len(own_RI):
        got = f"{name} was given {covariance.num_tokens} tokens, too few for rank {len(own_RI)}"
        raise RunError(f"init: eva: {got}; give init_examples more")
    with torch.no_grad():
        own_RI.copy_(covariance.components(len(own_RI)))
