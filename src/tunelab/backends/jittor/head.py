"""Cross-entropy of the output head, a block of positions at a time, as kernels/linear_cross_entropy.py.

    loss = sum over positions of (1 - e) (logsumexp(z) - z[target]) + e (logsumexp(z) - mean(z)),   z = W h

Jittor's own loses digits over a large vocabulary (4e-5 at 50,257) and says nothing of targets outside it.
"""
# S positions, C positions of a block, H hidden, V vocabulary; e label smoothing

from __future__ import annotations

from typing import Any

import numpy as np

from tunelab.backends.jittor.framework import jt

BLOCK_NUMBERS = 2**24
"""Logits of a block: 64 MiB."""


class Summed:
    """The loss of a batch with its gradients, which are ready when it is."""

    def __init__(
        self, hidden_SH: Any, weight_VH: Any, target_S: np.ndarray, *, smoothing: float, trained: bool
    ) -> None:
        """`trained`: whether the head's weight wants a gradient."""
        vocabulary = weight_VH.shape[0]
        size = max(1, BLOCK_NUMBERS // vocabulary)
        self.loss, grads, self.grad_VH = 0.0, [], None
        for start in range(0, len(target_S), size):
            h_CH, target_C1 = hidden_SH[start : start + size], jt.array(target_S[start : start + size, None])
            logits_CV, powers_CV, sum_C1, loss_C1 = _loss(h_CH, weight_VH, target_C1, smoothing=smoothing)
            wanted_CV = chosen(logits_CV, target_C1).float32() * (1.0 - smoothing) + smoothing / vocabulary
            grad_CV = powers_CV / sum_C1 - wanted_CV
            grads.append(jt.matmul(grad_CV, weight_VH))
            if trained:
                part_VH = jt.matmul(grad_CV.transpose(1, 0), h_CH)
                self.grad_VH = part_VH if self.grad_VH is None else self.grad_VH + part_VH
            self.loss += float(loss_C1.numpy().astype(np.float64).sum())
            jt.sync([grads[-1]] + ([self.grad_VH] if trained else []))
        self.grad_SH = jt.concat(grads, dim=0)


def token_losses(hidden_SH: Any, weight_VH: Any, target_S: np.ndarray) -> np.ndarray:
    """-ln p(target) of each position, shape (S,)."""
    size = max(1, BLOCK_NUMBERS // weight_VH.shape[0])
    found = []
    for start in range(0, len(target_S), size):
        target_C1 = jt.array(target_S[start : start + size, None])
        loss_C1 = _loss(hidden_SH[start : start + size], weight_VH, target_C1, smoothing=0.0)[3]
        found.append(loss_C1.numpy()[:, 0].astype(np.float64))
    return np.concatenate(found)


def chosen(logits_CV: Any, target_C1: Any) -> Any:
    """Where the targets are."""
    return jt.index(logits_CV.shape, dim=1) == target_C1


def _loss(h_CH: Any, weight_VH: Any, target_C1: Any, *, smoothing: float) -> tuple[Any, Any, Any, Any]:
    """Logits, their powers from the largest on, the powers' sum, and the loss of each position."""
    logits_CV = jt.nn.matmul_transpose(h_CH, weight_VH)
    most_C1 = logits_CV.max(dim=1, keepdims=True)
    powers_CV = jt.exp(logits_CV - most_C1)
    sum_C1 = powers_CV.float64().sum(dim=1, keepdims=True).float32()
    target_C1 = (logits_CV * chosen(logits_CV, target_C1)).sum(dim=1, keepdims=True)
    loss_C1 = jt.log(sum_C1) + most_C1 - target_C1 * (1.0 - smoothing)
    if smoothing:
        loss_C1 = loss_C1 - logits_CV.mean(dim=1, keepdims=True) * smoothing
    return logits_CV, powers_CV, sum_C1, loss_C1
