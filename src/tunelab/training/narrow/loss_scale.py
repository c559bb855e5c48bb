"""Dynamic loss scaling for fp16 (Micikevicius et al. 2018, arXiv:1710.03740).

fp16 holds no number below 6e-8, and most gradients of activations are smaller: the loss is multiplied by a scale before
the backward pass, and what arrives is divided by it before anything reads it. Where a value of the pass overflowed the
step is left out and the scale halves; after a number of good steps it doubles. Numbers and rule are those of
`torch.amp.GradScaler` 2.13, which tests/training/narrow/test_loss_scale.py drives beside this. That class itself wants
optimizers that hold every gradient, which projected ones do not, and decides on each rank for itself; here what decides
is the step's gradient norm, the same on all ranks and read anyway.

The scale is a power of two, so that dividing by it loses no bit: what is linear in the gradient (projections, sums over
ranks) and what does not depend on its length (bases) may come before the division.
"""

from __future__ import annotations

INITIAL, GROWTH, BACKOFF, INTERVAL = 2.0**16, 2.0, 0.5, 2000
"""The first scale; factors after INTERVAL good steps in a row, and after a step that overflowed."""
LOWEST = 1.0
"""A step that overflows at this scale overflows by itself."""


class LossScale:
    def __init__(self) -> None:
        self.value = INITIAL
        self.good_steps = 0
        """Since the scale has last changed."""

    def step(self, *, overflowed: bool) -> None:
        """After each step."""
        if overflowed:
            self.value, self.good_steps = self.value * BACKOFF, 0
            return
        self.good_steps += 1
        if self.good_steps == INTERVAL:
            self.value, self.good_steps = self.value * GROWTH, 0
