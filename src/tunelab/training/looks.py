"""Which whole gradients are held at a time while bases are found: the room, and the groups that fit into it.

In a look (`Updater.look`) nothing else is accumulated. What the step holds once it counts (projected gradients of the
matrices, whole ones of the other parameters) is therefore free, and with one block of the model beside it the room.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor


class Looks:
    """The sums of one look after the other. `sizes` are numbers of values of the matrices' gradients, by name."""

    def __init__(self, sizes: Mapping[str, int], *, held_anyway: int) -> None:
        self.sizes = sizes
        self.room = held_anyway + largest_block(sizes)
        self.sums: dict[str, Tensor] = {}

    def group(self, wanted: list[str]) -> list[str]:
        """The first of these that there is room for; one at least."""
        chosen, values = [], 0
        for name in wanted:
            values += self.sizes[name]
            if chosen and values > self.room:
                break
            chosen.append(name)
        return chosen

    def add(self, name: str, grad_OI: Tensor) -> None:
        """One micro-batch's, which is kept or added."""
        if name in self.sums:
            self.sums[name].add_(grad_OI)
        else:
            self.sums[name] = grad_OI.detach()


def largest_block(sizes: Mapping[str, int]) -> int:
    """Values of the largest transformer block: matrices whose paths agree up to their first number."""
    blocks: dict[str, int] = defaultdict(int)
    for name, size in sizes.items():
        found = re.match(r".*?\.\d+(?=\.)", name)
        blocks[found.group() if found else name] += size
    return max(blocks.values(), default=0)
