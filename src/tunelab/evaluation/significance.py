"""Which differences between methods are real: intervals and paired tests over examples and seeds.

Everything is a re-weighting of stored per-example statistics (see contracts.Metric); no model and no text is needed.

A method's score is the mean over its seeds of the score on all examples. With a_s the effect of a seed, b_i of an
example and e_si of both together, its variance is var(a)/S + var(b)/N + var(e)/(S N):

- Examples: N of N are drawn with replacement, the same draw for every seed and every method. The replicates carry
  var(b)/N + var(e)/(S N), and what two methods share on an example cancels from their difference.
- Seeds: drawing S of S seeds shows only (S - 1)/S of var(a), and with two or three seeds far too few different
  means (measured below). So each replicate gets instead Student's t with S - 1 degrees of freedom times
  sqrt(var(a)/S), where var(a) = max(0, variance of the seeds' scores - share * var(e)/N) and var(e)/N is the variance
  between seeds within a replicate. Seeds are independent draws of each method, also where the lists agree: base has
  one seed, and a positive correlation, as from an equal data order, only makes the test stricter.
- Two or three seeds leave one or two degrees of freedom, with which an interval is far too wide and, corrected for the
  pairs of ten methods, nothing can ever be told. So a method with so few takes the larger of its own variance and the
  mean variance over all methods of the comparison, with the degrees of freedom of all of them. That is exact where
  methods vary alike, and too narrow for one whose variance is far above the others' (measured below).
- One seed: examples only. The base is deterministic, so nothing is missing there; for a trained method the interval
  says nothing about other seeds.

`share`: a variance from few seeds is uncertain. Taking off all of var(e)/N hides a real seed effect too often in an
interval, so half of it is taken off; the difference of two methods with seeds has two such terms and keeps its level
with all of it off.

Measured (tests/evaluation/test_coverage.py; N = 200, 2,000 simulations a cell). Usual: var(a) up to var(e)/N and
var(b) = 0.3 var(e). Hard: var(a) of 4 to 30 var(e)/N and hardly any var(b). Drawn: seeds drawn with replacement.

    seeds | coverage of the 95 % interval, %              | false differences at 5 %, usual to hard
          | usual          hard          drawn, hard      | two methods with seeds   against one seed
      1   | 94.5                                          |                          5.3 to 5.4
      2   | 94.7 to 96.8   89.5 to 90.0  66 to 85         | 1.8 to 6.3               2.4 to 10.1
      3   | 96.7 to 97.1   93.0 to 93.5  78 to 91         | 1.7 to 3.4               2.4 to 6.1
      5   | 96.4 to 97.2   94.5 to 95.1  87 to 93         | 2.9 to 4.0               3.1 to 5.6

Two and three seeds stand there for a method compared with nothing but one seed. Together (hard, 500 to 1,000 draws)
methods that vary alike hold the truth in 95.1 to 97.4 %. A method with three times the others' standard deviation holds
it with two seeds in 90.7 % beside one other and in 81.8 % beside four, with three in 89.8 % and 86.8 %; three seeds of
two methods call equal ones different in 3 to 4 %.
"""
# S seeds, N examples, K statistics, R resamples, J runs = seeds of all methods

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.evaluation.power import effect_size, examples_needed
from tunelab.evaluation.resampling import resampled_scores

LEVEL = 0.05
"""Of the interval (1 - LEVEL) and, after Holm's correction, of all tests of one table together."""
TEST_RESAMPLES = 10_000
"""With 1,000 the smallest p is 0.002, and Holm over ten methods' 45 pairs could never fall below LEVEL."""
FEW_SEEDS = 3
"""So many seeds, or fewer, say too little about their own variance."""
SHARE_ALONE = 0.5
SHARE_AGAINST_SEEDS = 1.0


class Interval(NamedTuple):
    """A score with its 95 % interval, in the metric's unit. None: it cannot be computed from these examples."""

    value: float | None
    low: float | None
    high: float | None
    num_seeds: int
    num_examples: int


class PairTest(NamedTuple):
    """Difference of two methods on the same examples, in the metric's unit: first - second."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    """Two-sided."""
    p_holm: float
    """Corrected for all pairs tested together; equal to p where the pair was tested alone."""
    effect: float | None = None
    """In standard deviations of an example's difference; see power.py."""
    examples_needed: int | None = None
    """To tell a difference of this size apart among these pairs; None: only more seeds can, or nothing differs."""


class Comparison(NamedTuple):
    """One metric on one task. A method without the metric is None throughout."""

    intervals: dict[str, Interval | None]
    pairs: tuple[PairTest, ...]
    best: str | None
    tied_best: dict[str, bool | None]
    """The best method, and each that is not significantly worse than it."""


def interval(statistics: np.ndarray, metric: Metric, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Score and interval of one method. `statistics`: S x N x K, or N x K for one run."""
    return intervals({"": statistics}, metric, resamples=resamples, seed=seed)[""]


def intervals(
    statistics: Mapping[str, np.ndarray], metric: Metric, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """The same for several methods, from one set of draws."""
    found = _evidence(statistics, metric, resamples=resamples, seed=seed)
    return {label: evidence.interval for label, evidence in found.items()}


def paired_test(
    first: np.ndarray, second: np.ndarray, metric: Metric, *, resamples: int = TEST_RESAMPLES, seed: int = 0
) -> PairTest | None:
    """Test two methods alone (S x N x K each, the same N examples); None where no test can be computed."""
    evidence = _evidence({"first": first, "second": second}, metric, resamples=resamples, seed=seed)
    pairs = _tested_pairs(evidence)
    return pairs[0] if pairs else None


def compare(
    statistics: Mapping[str, np.ndarray | None], metric: Metric, *, resamples: int = TEST_RESAMPLES, seed: int = 0
) -> Comparison:
    """Intervals of all methods, tests of all pairs, and who is tied with the best.

    `statistics`: method label -> S x N x K (S may differ, the N examples and their order may not), or None.
    """
    present = {label: values for label, values in statistics.items() if values is not None}
    evidence = _evidence(present, metric, resamples=resamples, seed=seed)
    pairs = _tested_pairs(evidence)
    ranked = [label for label, found in evidence.items() if found.is_testable]
    sign = 1 if metric.higher_is_better else -1
    best = max(ranked, key=lambda label: sign * evidence[label].value, default=None)
    worse = {
        pair.second if pair.first == best else pair.first
        for pair in pairs
        if best in (pair.first, pair.second) and pair.p_holm < LEVEL
    }
    return Comparison(
        intervals={label: evidence[label].interval if label in evidence else None for label in statistics},
        pairs=pairs,
        best=best,
        tied_best={label: label not in worse if label in ranked else None for label in statistics},
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction: the i-th smallest of m is multiplied by m - i + 1, kept in order, at most 1.

    Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return corrected


class _Evidence(NamedTuple):
    """What the tests of one method need: its interval, and R draws of its score."""

    interval: Interval
    alone: np.ndarray
    """For the interval, and against a method with one seed."""
    against_seeds: np.ndarray
    """Against another method with several seeds."""
    over_examples: np.ndarray
    """What the choice of examples alone does."""
    seeds_variance: float
    """Of the mean over the seeds."""

    @property
    def is_testable(self) -> bool:
        return self.interval.low is not None

    @property
    def value(self) -> float:
        """Of a testable method."""
        assert self.interval.value is not None
        return self.interval.value


def _evidence(
    statistics: Mapping[str, np.ndarray], metric: Metric, *, resamples: int, seed: int
) -> dict[str, _Evidence]:
    runs = {label: values if values.ndim == 3 else values[None] for label, values in statistics.items()}
    if not runs:
        return {}
    num_examples = {values.shape[1] for values in runs.values()}
    assert len(num_examples) == 1, f"methods were scored on different numbers of examples: {sorted(num_examples)}"
    stacked = np.concatenate(list(runs.values()))
    if num_examples == {0}:
        return {label: _unknown(values, value=None) for label, values in runs.items()}
    replicates = resampled_scores(stacked, metric, resamples=resamples, seed=seed)
    scores = metric.aggregate(stacked.sum(axis=1))
    columns, first = {}, 0
    for label, values in runs.items():
        columns[label] = slice(first, first + len(values))
        first += len(values)
    spreads = {
        label: _Spread.of(scores[cut], replicates[:, cut]) for label, cut in columns.items() if len(scores[cut]) > 1
    }
    found = {}
    for label, values in runs.items():
        # Keyed by the label, so that a further method changes no other method's draws.
        generator = np.random.default_rng([seed, zlib.crc32(label.encode())])
        cut = columns[label]
        one = _method_evidence(values, scores[cut], replicates[:, cut], label, spreads, generator=generator)
        found[label] = one._replace(interval=_cut(one.interval, metric.bounds))
    return found


class _Spread(NamedTuple):
    """What the seeds of one method say."""

    num_seeds: int
    between: float
    """Variance of the seeds' scores."""
    from_examples: float
    """The part of it that comes from the choice of examples."""

    @classmethod
    def of(cls, scores: np.ndarray, replicates: np.ndarray) -> _Spread:
        """From the scores S and their replicates R x S."""
        from_examples = np.var(replicates - replicates.mean(axis=0), axis=1, ddof=1).mean()
        return cls(len(scores), float(np.var(scores, ddof=1)), float(from_examples))

    def variance(self, share: float) -> float:
        return max(0.0, self.between - share * self.from_examples)


def _seed_variance(label: str, spreads: Mapping[str, _Spread], *, share: float) -> tuple[float, int]:
    """Variance of a seed's effect and its degrees of freedom; few seeds borrow those of the other methods."""
    own = spreads[label]
    if own.num_seeds > FEW_SEEDS:
        return own.variance(share), own.num_seeds - 1
    several = [spread for spread in spreads.values() if math.isfinite(spread.between + spread.from_examples)]
    freedom = sum(spread.num_seeds - 1 for spread in several)
    if not freedom:
        return own.variance(share), own.num_seeds - 1
    pooled = sum((spread.num_seeds - 1) * spread.variance(share) for spread in several) / freedom
    return max(own.variance(share), pooled), freedom


def _cut(interval: Interval, bounds: tuple[float, float]) -> Interval:
    """The t distribution knows no smallest or largest score."""
    if interval.low is None or interval.high is None:
        return interval
    return interval._replace(low=max(interval.low, bounds[0]), high=min(interval.high, bounds[1]))


def _unknown(values: np.ndarray, *, value: float | None) -> _Evidence:
    nothing = np.empty(0)
    return _Evidence(Interval(value, None, None, *values.shape[:2]), nothing, nothing, nothing, 0.0)


def _method_evidence(
    values: np.ndarray,
    scores: np.ndarray,
    replicates: np.ndarray,
    label: str,
    spreads: Mapping[str, _Spread],
    *,
    generator: np.random.Generator,
) -> _Evidence:
    """From the statistics S x N x K, the scores S and their replicates R x S of one method."""
    mean = float(scores.mean())
    num_seeds, num_examples = values.shape[:2]
    if num_examples < 2 or not np.isfinite(replicates).all() or not math.isfinite(mean):
        return _unknown(values, value=mean if math.isfinite(mean) else None)
    draws, over_examples, variance = {}, replicates.mean(axis=1), 0.0
    for share in (SHARE_ALONE, SHARE_AGAINST_SEEDS):
        draws[share] = over_examples
        if num_seeds > 1:
            variance, freedom = _seed_variance(label, spreads, share=share)
            if share == SHARE_ALONE:
                noise = generator.standard_t(freedom, size=len(replicates))
            draws[share] = draws[share] + noise * math.sqrt(variance / num_seeds)
    low, high = _percentiles(draws[SHARE_ALONE])
    interval = Interval(mean, low, high, num_seeds, num_examples)
    return _Evidence(interval, draws[SHARE_ALONE], draws[SHARE_AGAINST_SEEDS], over_examples, variance / num_seeds)


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _tested_pairs(evidence: Mapping[str, _Evidence]) -> tuple[PairTest, ...]:
    testable = [label for label, found in evidence.items() if found.is_testable]
    both = list(combinations(testable, 2))
    pairs = [_pair(first, second, evidence, level=LEVEL / len(both)) for first, second in both]
    corrected = holm(np.array([pair.p for pair in pairs]))
    return tuple(pair._replace(p_holm=float(p)) for pair, p in zip(pairs, corrected, strict=True))


def _pair(first: str, second: str, evidence: Mapping[str, _Evidence], *, level: float) -> PairTest:
    one, other = evidence[first], evidence[second]
    difference = one.value - other.value
    both_have_seeds = one.interval.num_seeds > 1 and other.interval.num_seeds > 1
    draws = one.against_seeds - other.against_seeds if both_have_seeds else one.alone - other.alone
    # Equal methods differ by rounding in the last place, which must not count as a side.
    rounding = 1e-12 * np.abs(one.alone).max()
    not_above = np.count_nonzero(draws <= rounding) + 1
    not_below = np.count_nonzero(draws >= -rounding) + 1
    p = min(1.0, 2 * min(not_above, not_below) / (len(draws) + 1))
    low, high = _percentiles(draws)
    num_examples, over_examples = one.interval.num_examples, float(np.var(one.over_examples - other.over_examples))
    if over_examples <= rounding**2 or abs(difference) <= rounding:
        return PairTest(first, second, difference, low, high, p, p)
    needed = examples_needed(
        difference,
        examples_variance=over_examples,
        seeds_variance=one.seeds_variance + other.seeds_variance,
        num_examples=num_examples,
        level=level,
    )
    effect = effect_size(difference, over_examples, num_examples)
    return PairTest(first, second, difference, low, high, p, p, effect, needed)
