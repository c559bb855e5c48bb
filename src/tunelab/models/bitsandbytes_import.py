"""bitsandbytes imported without PyTorch's compiler, a second of processor time less, and without its advice.

It hands five functions to torch.compile while it is imported, which brings all of torch._inductor. They stand in for
kernels that its library has for CPUs and CUDA, so nothing that is computed there changes. PEFT imports it too, wherever
it is installed, so whoever imports PEFT calls this before.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec

SWITCH = "TORCHDYNAMO_DISABLE"


def import_bitsandbytes() -> None:
    """Nothing where it is imported already, or not installed. What its import raises is raised."""
    # On CPUs with AVX512-BF16 it warns on import of a kernel for its own 4-bit layer, which is not used here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    if "bitsandbytes" in sys.modules or find_spec("bitsandbytes") is None:
        return
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1"
    try:
        import bitsandbytes  # noqa: F401
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before
