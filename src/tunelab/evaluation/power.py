"""How large a difference is beside the spread over examples, and how many examples would tell it apart.

With d the difference of two methods' scores, v the variance that the choice of N test examples gives it and s the
variance that their seeds give it:

    effect = d / sqrt(N v)
    needed = N v / (d^2 / (z(1 - level / 2) + z(power))^2 - s)

`effect` is Cohen's d_z (1988, section 2.3.5) where the score is a mean over examples; for a corpus score such as BLEU
N v is the same quantity by the bootstrap. `needed` is the usual count for a paired test, on the assumption that the
true difference is the measured one: after a tie it is a plan, not a promise. Seeds do not shrink with examples: where
s alone hides the difference no number of examples is enough, and more seeds are needed.
"""

from __future__ import annotations

import math
from statistics import NormalDist

POWER = 0.8
"""How often an experiment of the needed size finds a difference of this size."""


def effect_size(difference: float, examples_variance: float, num_examples: int) -> float | None:
    """Unit: standard deviations of one example's difference. None where every example differs by the same."""
    return difference / math.sqrt(num_examples * examples_variance) if examples_variance > 0 else None


def examples_needed(
    difference: float, *, examples_variance: float, seeds_variance: float, num_examples: int, level: float
) -> int | None:
    """Test examples with which a difference of this size is found at `level` with POWER. None: no number is enough.

    Args:
        level: two-sided, already divided by the number of tests that are corrected together.
    """
    normal = NormalDist()
    wanted = (abs(difference) / (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER))) ** 2
    if wanted <= seeds_variance:
        return None
    return max(2, math.ceil(num_examples * examples_variance / (wanted - seeds_variance)))
