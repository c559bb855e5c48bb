"""How often a study's words are wrong: the rule of significance/beside_best.py on simulated studies of known truth.

    python benchmarks/decisions.py [studies a cell] [scenario ...]

Every example of every run is simulated (200 test examples) and goes through `compare` as a report's do, the base and
the default margin included. Unit: the standard deviation that 200 examples give one run's score beside what all runs
share on them. The base is 60 below the best method, so the margin is 6, estimated by each study from its own means.

- false "worse": all methods are equal, and one or more is called worse.
- false "as good": one method is best and all others lack exactly the margin, and one or more of them is called as good.
- told: how many words are decided where that is right: equal methods called as good, and methods that lack twice the
  margin called worse.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tunelab.metrics.exact_match import ExactMatch
from tunelab.significance.beside_best import Comparison, compare

METHODS = (2, 5, 13)
SEEDS = (2, 3, 5)
NUM_EXAMPLES = 200
RESAMPLES = 1000
GAIN = 60.0
MARGIN = GAIN / 10
SHARED = 0.3
"""Variance of what one method's runs share on an example; all methods together share 1."""
FAILS, DEPTH = 0.2, 20.0
"""A bimodal method fails in one of five seeds, by three times the margin and more."""

Draw = np.random.Generator
Effects = Callable[[Draw, int, int], np.ndarray]
"""Effects of the seeds, methods x seeds."""


class Mean(ExactMatch):
    """The mean of the first statistic, of any size."""

    bounds = (-np.inf, np.inf)


def normal(deviation: float, last: float = 1.0) -> Effects:
    """Normal effects; the last method's are `last` times as large."""

    def effects(draw: Draw, methods: int, seeds: int) -> np.ndarray:
        found = deviation * draw.normal(size=(methods, seeds))
        found[-1] *= last
        return found

    return effects


def failing(which: str, *, seen: bool | None = None) -> Effects:
    """Effects that are bimodal, with mean 0, of `all` methods or of `one`; `seen`: only studies in which one method's
    seeds show its failure (True: some fail and some do not), or do not."""

    def effects(draw: Draw, methods: int, seeds: int) -> np.ndarray:
        found = draw.normal(size=(methods, seeds))
        failed = draw.random((methods, seeds)) < FAILS
        if which == "one":
            failed[:-1] = False
            while seen is not None and (failed[-1].any() and not failed[-1].all()) != seen:
                failed[-1] = draw.random(seeds) < FAILS
            mean = np.zeros((methods, 1))
            mean[-1] = FAILS
            return found - DEPTH * (failed - mean)
        return found - DEPTH * (failed - FAILS)

    return effects


SCENARIOS: dict[str, Effects] = {
    "no seed variance": normal(0.0),
    "equal": normal(1.0),
    "large": normal(8.0**0.5),
    "one method three times the others": normal(1.0, last=3.0),
    "large, one three times the others": normal(2.0, last=3.0),
    "all bimodal": failing("all"),
    "one bimodal, and its seeds show it": failing("one", seen=True),
    "one bimodal, and no seed shows it": failing("one", seen=False),
}


class Rates(NamedTuple):
    """Shares of the studies, or of the methods, in %."""

    false_worse: float
    false_as_good: float
    told_as_good: float
    told_worse: float
    out_of_order: float
    """Studies in which a word contradicts the order of the means."""


def study(draw: Draw, effects: Effects, *, methods: int, seeds: int, lack: float, level: float = 0.05) -> Comparison:
    """One study: method 0 is best, the others lack `lack`."""
    return compare(runs(draw, effects, methods=methods, seeds=seeds, lack=lack), Mean(), base="base", level=level,
                   resamples=RESAMPLES, seed=int(draw.integers(2**31)))  # fmt: skip


def runs(draw: Draw, effects: Effects, *, methods: int, seeds: int, lack: float) -> dict[str, np.ndarray]:
    """Statistics of the base and of all methods, S x N x 2 each."""
    everywhere = draw.normal(size=NUM_EXAMPLES) * NUM_EXAMPLES**0.5
    own = draw.normal(size=(methods, 1, NUM_EXAMPLES)) * (SHARED * NUM_EXAMPLES) ** 0.5
    level = np.full((methods, 1), -lack)
    level[0] = 0.0
    of_seed = (level + effects(draw, methods, seeds))[..., None]
    values = everywhere + own + of_seed + draw.normal(size=(methods, seeds, NUM_EXAMPLES)) * NUM_EXAMPLES**0.5
    base = everywhere + draw.normal(size=(1, NUM_EXAMPLES)) * (SHARED * NUM_EXAMPLES) ** 0.5 - GAIN
    found = {"base": base, **{f"method {place}": values[place] for place in range(methods)}}
    return {label: np.stack([each, np.ones_like(each)], axis=-1) for label, each in found.items()}


def words(found: Comparison) -> list[str]:
    """Of all methods, in their order."""
    return [standing.word for standing in found.standings.values() if standing is not None]


def is_ordered(found: Comparison) -> bool:
    """No method has a better word than one with a better mean; those that are set apart stand outside."""
    rank = {"as good": 0, "undecided": 1, "worse": 2}
    known = [(one.lacks, rank[one.word]) for label, one in found.standings.items() if one and label not in found.apart]
    ranks = [place for _, place in sorted(known)]
    return ranks == sorted(ranks)


def rates(effects: Effects, *, methods: int, seeds: int, studies: int, key: int = 0) -> Rates:
    draw = np.random.default_rng([key, methods, seeds])
    worse, good, told_good, told_worse, disordered = [], [], [], [], []
    for _ in range(studies):
        equal = study(draw, effects, methods=methods, seeds=seeds, lack=0.0)
        worse.append("worse" in words(equal))
        told_good.append(np.mean([word == "as good" for word in words(equal)]))
        at_margin = study(draw, effects, methods=methods, seeds=seeds, lack=MARGIN)
        good.append("as good" in words(at_margin)[1:])
        far = study(draw, effects, methods=methods, seeds=seeds, lack=2 * MARGIN)
        told_worse.append(np.mean([word == "worse" for word in words(far)[1:]]))
        disordered.append(not all(map(is_ordered, (equal, at_margin, far))))
    return Rates(*(100 * float(np.mean(each)) for each in (worse, good, told_good, told_worse, disordered)))


def table(studies: int, scenarios: list[str]) -> Iterator[str]:
    yield "| seed variance | methods | seeds | false worse | false as good | equal: as good | twice the margin: worse |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name in scenarios:
        for methods in METHODS:
            for seeds in SEEDS:
                found = rates(SCENARIOS[name], methods=methods, seeds=seeds, studies=studies)
                assert found.out_of_order == 0, f"{name}: a word contradicts the order of the means"
                shown = f"{found.false_worse:.1f} | {found.false_as_good:.1f} | {found.told_as_good:.0f}"
                yield f"| {name} | {methods} | {seeds} | {shown} | {found.told_worse:.0f} |"


if __name__ == "__main__":
    chosen = sys.argv[2:] or list(SCENARIOS)
    started = time.process_time()
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, chosen):
        print(line, flush=True)
    print(f"\n{time.process_time() - started:.0f} processor seconds")
