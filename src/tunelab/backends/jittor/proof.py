"""`python -m tunelab.backends.jittor.proof [kernels]`: that Jittor computes, by a value that only it can print."""

from __future__ import annotations

import numpy as np


def main() -> None:
    from tunelab.backends.jittor.framework import jt

    product = jt.matmul(jt.array(np.full((2, 3), 2.0, np.float32)), jt.ones((3, 2)))
    print(f"TUNELAB_JITTOR {product.numpy()[1, 1]:.1f}, Jittor {jt.__version__}, numpy {np.__version__}", flush=True)


if __name__ == "__main__":
    main()
