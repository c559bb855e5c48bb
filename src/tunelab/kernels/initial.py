"""Initial values of added parameters, drawn by numpy and keyed by (seed, parameter name).

The same for every backend, process rank and order of layers, because nothing else enters the key.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np


def generator(*, seed: int, name: str) -> np.random.Generator:
    """A random generator that depends on nothing but the seed and the parameter's name."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])


def kaiming_uniform(*, seed: int, name: str, shape: tuple[int, int]) -> np.ndarray:
    """float32, shape (out, in): uniform in +-1/sqrt(in), as torch's `kaiming_uniform_(a=sqrt(5))` for LoRA's A."""
    bound = 1.0 / math.sqrt(shape[1])
    return generator(seed=seed, name=name).uniform(-bound, bound, size=shape).astype(np.float32)
