"""Weights that are held and trained in bf16: each update is made in fp32 on a copy of one parameter and rounded into it
at random, up or down with the probabilities that keep the mean.

bf16 tells numbers apart that differ by 1/256 or more, and most updates are less than that of their weight: rounding to
the nearest keeps none of them. Rounded at random (Zamirai et al. 2020, arXiv:2010.06192, "Revisiting BFloat16
Training", where it stands beside Kahan's compensation, which needs two more bytes a weight) a weight moves now and then
by a whole step, in the mean as far as its updates say. Draws are a function of the run's seed, the parameter's name and
the number of the update: a resumed run makes the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tunelab.kernels.initial import generator

SEED = "tunelab_rounding_seed"
"""An attribute of a model with such weights: the run's seed."""
HELD = "bf16, rounded at random"
"""What an optimizer says of such weights."""
LOWER_BITS = 16
"""Of fp32, which bf16 does not have."""
AT_ONCE = 2**22
"""Values of which draws are held at a time."""


def is_narrow(tensor: Tensor) -> bool:
    return tensor.dtype == torch.bfloat16


def rounding_key(model: nn.Module, name: str) -> int:
    """Of a parameter: what its draws depend on beside the number of the update."""
    return int(generator(seed=getattr(model, SEED, 0), name=f"{name}, rounding").integers(2**63))


@contextmanager
def moved(parameter: Tensor, *, key: int, number: int) -> Iterator[Tensor]:
    """The weight to be changed in place at update `number`: itself, or of a narrow one an fp32 copy, rounded into it at
    the end."""
    with torch.no_grad():
        if not is_narrow(parameter):
            yield parameter
            return
        wide = parameter.detach().float()
        yield wide
        round_into(parameter, wide, key=key, number=number)


def round_into(parameter: Tensor, wide: Tensor, *, key: int, number: int) -> None:
    """`wide` (fp32) is used up. A value that is not finite stays so."""
    seed = np.random.SeedSequence([key, number]).generate_state(1, np.uint64)[0] >> 1
    draw = torch.Generator(wide.device).manual_seed(int(seed))
    bits = wide.view(torch.int32)
    for part in bits.view(-1).split(AT_ONCE) if bits.is_contiguous() else (bits,):
        noise = torch.empty_like(part).random_(0, 1 << LOWER_BITS, generator=draw)
        noise.masked_fill_(~part.view(torch.float32).isfinite(), 0)
        # Sign and magnitude: what is added to the bits moves away from zero, and what is cut off moves towards it.
        part.add_(noise).bitwise_and_(-1 << LOWER_BITS)
    parameter.copy_(wide)
