"""Which methods are as good as the best, which are worse, and which are undecided.

A method lacks d = (score of the truly best method) - (its own score), in the metric's direction. Which method is truly
best is not known: the one with the best mean may have been lucky. So limits of d are taken over every method k that
may be it, simultaneously (multiple comparisons with the best: Hsu 1984, Annals of Statistics 12, 1136-1144):

    upper limit = max over k of (mean_k - mean + c_k w_k), at least 0
    lower limit = max over k of (mean_k - mean - q w_k)

w_k is the standard error of the difference; c_k, q are quantiles of the largest of all standardised differences, from
the draws of intervals.py (max-t: what all methods share, and that few seeds know their variance badly, is in them).
c_k covers every method beside k, so that with 95 % no method is called as good that lacks the margin. q covers every
method that may be one of several best ones, and is taken anew for those that are left when some have been found worse
(step-down: Romano and Wolf 2005, JASA 100, 94-108), so that with 95 % no best one is called worse.

    as good     upper limit < margin, or every other method is worse
    worse       lower limit > 0, and not as good
    undecided   neither: more seeds or more test examples would tell

Words follow the order of the means: a method is as good only where all with a better mean are, and worse only where all
with a lower one are. Both rules only take claims back. Methods that are set apart (seeds.py) are no rivals of others:
each is compared with all those that are not, and stands outside of the order.

The margin is a share of what the best mean gains over the base, or a number. A method with one seed is not compared.
"""
# R draws, M methods

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.significance.intervals import LEVEL, Evidence, Interval, evidence
from tunelab.significance.power import Needed, needed
from tunelab.significance.simultaneous import Limits, limits

Word = Literal["as good", "worse", "undecided"]

RESAMPLES = 10_000


class Margin(NamedTuple):
    """What a method may lack and still be as good."""

    share: float | None = 0.1
    """Of the best mean's gain over the base."""
    value: float | None = None
    """In the metric's unit; instead of the share."""


A_TENTH = Margin()
NOTHING: Mapping[str, Word] = MappingProxyType({})


class Standing(NamedTuple):
    """One method beside the best. Differences are positive where the method lacks something."""

    word: Word
    lacks: float
    """To the best mean."""
    low: float
    high: float
    """Of what it lacks to the truly best method, whichever that is; simultaneous over the methods."""
    better: tuple[str, ...]
    """Methods that are significantly better than it, be it by less than the margin."""
    needed: Needed | None
    """What would decide an undecided one; None: it is decided, or nothing of this size can be."""


class Comparison(NamedTuple):
    """One metric on one task. A method without the metric is None throughout."""

    intervals: dict[str, Interval | None]
    standings: dict[str, Standing | None]
    """None also for the base, and for a method with one seed."""
    best: str | None
    """The best mean among the methods that are compared."""
    margin: float | None
    """On the scale of the differences; None: no method gains anything over the base, or there is no base."""
    in_logarithms: bool
    """Whether differences and margin are of the score's natural logarithm."""
    beats_base: dict[str, bool | None]
    """Simultaneous over the methods; None for the base."""
    unsteady: tuple[str, ...]
    """Methods that sometimes fail, by their seeds."""
    apart: tuple[str, ...]
    """Those of them with which no other method is compared."""


def compare(
    statistics: Mapping[str, np.ndarray | None], metric: Metric, *, base: str | None = None,
    margin: Margin = A_TENTH, level: float = LEVEL, claimed: Mapping[str, Word] = NOTHING, beaten: Collection[str] = (),
    resamples: int = RESAMPLES, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Every method beside the best.

    Args:
        statistics: method label -> S x N x K (S may differ, the N examples and their order may not), or None.
        base: the label of the untouched model, if it is among them.
        level: of each kind of claim over all methods together.
        claimed: words that were given at an earlier look (looks.py) and stay, as far as the order of the means allows
            and the method's seeds are still steady.
        beaten: methods that an earlier look has found better than the base.
    """
    present = {label: values for label, values in statistics.items() if values is not None}
    plain = evidence(present, metric, resamples=resamples, seed=seed, base=base)
    logarithm = metric.logarithm() if margin.value is None else None
    known = plain
    if logarithm is not None:
        known = evidence(present, logarithm, resamples=resamples, seed=seed, base=base)
    claimed = {label: word for label, word in claimed.items() if label in known and not known[label].unsteady}
    sign = 1 if metric.higher_is_better else -1
    contenders = {
        label: one
        for label, one in known.items()
        if label != base and one.is_testable and plain[label].is_testable and len(one.scores) > 1
    }
    field = _Field.of(contenders, sign=sign) if contenders else None
    gain = _gain(field, known.get(base) if base is not None else None, sign=sign)
    allowed = margin.value if margin.value is not None else gain * margin.share if gain and margin.share else None
    standings = field.standings(allowed, level=level, claimed=claimed) if field is not None else {}
    return Comparison(
        intervals={label: plain[label].interval if label in plain else None for label in statistics},
        standings={label: standings.get(label) for label in statistics},
        best=field.best if field is not None else None,
        margin=allowed,
        in_logarithms=logarithm is not None,
        beats_base=_beats_base(known, base, beaten, sign=sign, level=level) | ({base: None} if base else {}),
        unsteady=tuple(label for label, one in known.items() if one.unsteady),
        apart=tuple(label for label, one in known.items() if one.apart),
    )


class _Field(NamedTuple):
    """The methods that are compared; scores are turned so that higher is better."""

    labels: tuple[str, ...]
    known: tuple[Evidence, ...]
    means: np.ndarray
    draws: np.ndarray
    """R x M"""

    @classmethod
    def of(cls, contenders: Mapping[str, Evidence], *, sign: int) -> _Field:
        means = np.array([_value(one) for one in contenders.values()])
        draws = np.stack([one.draws for one in contenders.values()], axis=1)
        return cls(tuple(contenders), tuple(contenders.values()), sign * means, sign * draws)

    @property
    def best(self) -> str:
        """The best mean; never of a method that is set apart, which has a lower one."""
        return self.labels[int(self.means.argmax())]

    def standings(self, margin: float | None, *, level: float, claimed: Mapping[str, Word]) -> dict[str, Standing]:
        """Rivals among themselves; beside them each that is set apart, and each that an earlier look found worse."""
        worse = {label for label, word in claimed.items() if word == "worse"}
        outside = [one.apart or label in worse for label, one in zip(self.labels, self.known, strict=True)]
        if all(outside):  # those that they were worse than are gone
            outside, claimed = [one.apart for one in self.known], NOTHING
        rivals, errors = np.flatnonzero(~np.array(outside)), self._errors()
        found = self._among(rivals, errors, margin, level=level, claimed=claimed)
        lowest = min(self.means[place] for place in rivals if found[self.labels[place]].word != "worse")
        for place in np.flatnonzero(outside):
            label = self.labels[place]
            beside = self._among(np.append(rivals, place), errors, margin, level=level, claimed=NOTHING)[label]
            if not self.known[place].apart:  # it stays worse as far as the order of the means allows
                word: Word = "worse" if self.means[place] <= lowest else "undecided"
                beside = beside._replace(word=word, needed=None)
            found[label] = beside
        return found

    def _among(
        self, places: np.ndarray, errors: np.ndarray, margin: float | None, *, level: float,
        claimed: Mapping[str, Word],
    ) -> dict[str, Standing]:  # fmt: skip
        """Standings among some of the methods; `errors`: of all, M x M."""
        means, errors = self.means[places], errors[np.ix_(places, places)]
        found = limits(means, self.draws[:, places], errors, level=level)
        upper, lower = found.upper, found.lower
        good = upper < margin if margin is not None else np.zeros(len(places), dtype=bool)
        labels = np.array(self.labels)[places]
        earlier = np.array([claimed.get(str(label), "undecided") for label in labels])
        words = _in_order(means, good | (upper <= 0) | (earlier == "as good"), (lower > 0) | (earlier == "worse"))
        known = [self.known[place] for place in places]
        return {
            str(label): Standing(
                word, float(means.max() - means[place]), float(lower[place]), float(upper[place]),
                tuple(map(str, labels[found.better[:, place]])),
                _needed(place, found, known, margin) if word == "undecided" else None,
            )
            for place, (label, word) in enumerate(zip(labels, words, strict=True))
        }  # fmt: skip

    def _errors(self) -> np.ndarray:
        """M x M: standard errors of the differences, what two methods share on an example taken off."""
        over_examples = np.stack([one.over_examples for one in self.known], axis=1)
        covariance = np.atleast_2d(np.cov(over_examples, rowvar=False))
        own = np.diag(covariance)
        seeds = np.array([one.seeds_variance for one in self.known])
        total = own[:, None] + own[None, :] - 2 * covariance + seeds[:, None] + seeds[None, :]
        return np.sqrt(np.maximum(total, 0.0))


def _in_order(means: np.ndarray, good: np.ndarray, worse: np.ndarray) -> list[Word]:
    """Claims that the order of the means supports."""
    words: list[Word] = ["undecided"] * len(means)
    for place in np.lexsort((~good, -means)):  # among equal means those first of which it can be said
        if not good[place]:
            break
        words[place] = "as good"
    for place in np.lexsort((~worse, means)):
        if not worse[place] or words[place] == "as good":
            break
        words[place] = "worse"
    return words


def _needed(place: int, found: Limits, known: Sequence[Evidence], margin: float | None) -> Needed | None:
    rival = int(found.nearest_rival[place])
    one, other = known[place], known[rival]
    seeds = min(len(one.scores), len(other.scores))
    per_seed = seeds * (one.seeds_variance + other.seeds_variance)
    return needed(
        float(found.ahead[rival, place]), margin=margin, above=float(found.above[rival]),
        below=float(found.below[place]), per_seed=per_seed,
        over_examples=max(0.0, float(found.errors[rival, place]) ** 2 - per_seed / seeds),
        num_seeds=seeds, num_examples=one.interval.num_examples,
    )  # fmt: skip


def _value(one: Evidence) -> float:
    """Of a testable method."""
    assert one.interval.value is not None
    return one.interval.value


def _gain(field: _Field | None, base: Evidence | None, *, sign: int) -> float | None:
    """Of the best mean over the base; None where there is none."""
    if field is None or base is None or not base.is_testable:
        return None
    gain = float(field.means.max()) - sign * _value(base)
    return gain if gain > 0 else None


def _beats_base(
    known: Mapping[str, Evidence], base: str | None, beaten: Collection[str], *, sign: int, level: float
) -> dict[str, bool | None]:  # fmt: skip
    """Each method against the base: the largest standardised lead over it that chance gives. Level 0: what is known."""
    if base is None or base not in known or not known[base].is_testable:
        return dict.fromkeys(known)
    methods = {label: one for label, one in known.items() if label != base and one.is_testable}
    if level <= 0:
        return dict.fromkeys(known) | {label: True for label in methods if label in beaten}
    if not methods:
        return dict.fromkeys(known)
    ahead = np.array([sign * (_value(one) - _value(known[base])) for one in methods.values()])
    draws = np.stack([sign * (one.draws - known[base].draws) for one in methods.values()], axis=1)
    errors = np.array([
        np.sqrt(np.var(one.over_examples - known[base].over_examples) + one.seeds_variance) for one in methods.values()
    ])  # fmt: skip
    tiny = 1e-12 * max(1e-300, max(abs(_value(one)) for one in known.values() if one.is_testable))
    errors = np.maximum(errors, tiny)
    critical = np.quantile(((draws - draws.mean(axis=0)) / errors).max(axis=1), 1 - level)
    beats = (ahead > tiny) & (ahead > critical * errors)
    said = dict(zip(methods, map(bool, beats), strict=True))
    return dict.fromkeys(known) | said | {label: True for label in methods if label in beaten}
