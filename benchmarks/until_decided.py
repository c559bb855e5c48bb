"""`tunelab run --until decided` on simulated studies: how often a word is wrong over all looks, and what it saves.

    python benchmarks/until_decided.py [studies a cell] [scenario ...]

As decisions.py, whose studies and scenarios these are. Three seeds of every method are looked at first; then a seed is
added to those that are undecided and to the best mean, up to ten. A word counts as wrong if it was given at any look.
Beside it the fixed design that it is to be compared with: ten seeds of every method and one look. Seeds: of a method,
on average.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from decisions import MARGIN, RESAMPLES, SCENARIOS, Draw, Effects, Mean, is_ordered, runs, words

from tunelab.significance.beside_best import Comparison, Word, compare
from tunelab.significance.looks import Taken, next_level

METHODS = (2, 5)
FIRST, MOST = 3, 10


@cache
def level_of(earlier: tuple[Taken, ...], seeds: int) -> float:
    return next_level(earlier, seeds, MOST)


class Ended(NamedTuple):
    comparison: Comparison
    seeds: dict[str, int]
    given: frozenset[tuple[str, Word]]
    """Words that were given at any look, also those that a later one took back."""


def until_decided(draw: Draw, effects: Effects, *, methods: int, lack: float) -> tuple[Ended, Comparison]:
    """One study until it is decided, and the same seeds as a fixed design."""
    everything = runs(draw, effects, methods=methods, seeds=MOST, lack=lack)
    key = int(draw.integers(2**31))
    seeds = {label: FIRST for label in everything if label != "base"}
    claimed: dict[str, Word] = {}
    taken: tuple[Taken, ...] = ()
    given: set[tuple[str, Word]] = set()
    for counted in range(FIRST, MOST + 1):
        level = level_of(taken, counted)
        taken = (*taken, Taken(counted, level))
        known = {label: each[: seeds.get(label, 1)] for label, each in everything.items()}
        found = compare(
            known, Mean(), base="base", level=level, claimed=claimed, resamples=RESAMPLES, seed=key
        )  # fmt: skip
        given |= {(label, one.word) for label, one in found.standings.items() if one is not None}
        open_ones = {label for label, one in found.standings.items() if one is not None and one.word == "undecided"}
        claimed |= {
            label: one.word for label, one in found.standings.items() if one is not None and label not in open_ones
        }
        if not open_ones or counted == MOST:
            break
        for label in {*open_ones, found.best or ""} & seeds.keys():
            seeds[label] = counted + 1
    fixed = compare(everything, Mean(), base="base", resamples=RESAMPLES, seed=key)
    return Ended(found, seeds, frozenset(given)), fixed


def table(studies: int, scenarios: list[str]) -> Iterator[str]:
    yield (
        "| seed variance | methods | false worse | false as good | equal: decided, fixed | seeds "
        "| twice the margin: decided, fixed | seeds |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for name in scenarios:
        for methods in METHODS:
            draw = np.random.default_rng([7, methods])
            worse, good = [], []
            decided: dict[float, list[float]] = {0.0: [], 2 * MARGIN: []}
            once: dict[float, list[float]] = {0.0: [], 2 * MARGIN: []}
            seeds: dict[float, list[float]] = {0.0: [], 2 * MARGIN: []}
            for _ in range(studies):
                for lack in (0.0, MARGIN, 2 * MARGIN):
                    ended, fixed = until_decided(draw, SCENARIOS[name], methods=methods, lack=lack)
                    told = words(ended.comparison)
                    assert is_ordered(ended.comparison), f"{name}: a word contradicts the order of the means"
                    if lack == 0.0:
                        worse.append(any(word == "worse" for _, word in ended.given))
                    if lack == MARGIN:
                        good.append(any(word == "as good" for label, word in ended.given if label != "method 0"))
                        continue
                    decided[lack].append("undecided" not in told)
                    once[lack].append("undecided" not in words(fixed))
                    seeds[lack].append(float(np.mean(list(ended.seeds.values()))))
            cells = [
                f"{100 * np.mean(decided[lack]):.0f}, {100 * np.mean(once[lack]):.0f} | {np.mean(seeds[lack]):.1f}"
                for lack in decided
            ]
            false = f"{100 * np.mean(worse):.1f} | {100 * np.mean(good):.1f}"
            yield f"| {name} | {methods} | {false} | {' | '.join(cells)} |"


if __name__ == "__main__":
    chosen = sys.argv[2:] or [name for name in SCENARIOS if "no seed shows it" not in name]
    started = time.process_time()
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 300, chosen):
        print(line, flush=True)
    print(f"\n{time.process_time() - started:.0f} processor seconds")
