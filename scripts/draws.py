"""Computes which places of a large file have low hashes and writes them where a draw by the usual seed looks first.

python scripts/draws.py
"""

import numpy as np

from tunelab.data.examples.splits import SHIPPED, SHIPPED_PLACES, SHIPPED_SEED, SHIPPED_SHARE, place_keys


def steps() -> np.ndarray:
    """uint16"""
    keys = place_keys(SHIPPED_SEED, np.arange(SHIPPED_PLACES))
    found = np.diff(np.flatnonzero(keys < 2**64 // SHIPPED_SHARE), prepend=0)
    assert found.max() < 2**16
    return found.astype(np.uint16)


if __name__ == "__main__":
    np.save(SHIPPED, steps())
