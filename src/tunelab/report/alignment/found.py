"""Everything that the Alignment section says, found in the records of two back ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tunelab.contracts import Metric
from tunelab.report.alignment.distance import Distance, distance
from tunelab.report.alignment.pairs import Beside, Pair, Paired, paired, trained_of
from tunelab.report.alignment.scores import Scores, scores_of
from tunelab.report.alignment.steps import Speed, StepByStep, same_texts, speed_of, step_by_step
from tunelab.report.alignment.unequal import differences, dropouts, model_dropout_is_known, other_rates


class Distances(NamedTuple):
    """Of one method."""

    by_pair: list[tuple[Pair, Distance]]
    seeds: tuple[int, int] | None
    """Two of the first back end, whose distance is the yardstick; None: it has one."""
    yardstick: Distance | None


class Found(NamedTuple):
    """Everything that is known of two back ends on one task."""

    beside: Beside
    paired: Paired
    steps: list[tuple[Pair, StepByStep]]
    speeds: list[tuple[Pair, tuple[Speed, Speed]]]
    scores: list[Scores]
    texts: dict[str, tuple[int, int]]
    """By method: the same, and all."""
    distances: dict[str, Distances]
    unequal: list[tuple[str, str]]
    dropouts: dict[str, str]
    """By method."""
    model_dropout_is_known: bool


def find(beside: Beside, metrics: Mapping[str, Metric]) -> Found:
    found = paired(beside)
    trained = [pair for pair in found.pairs if pair.is_trained]
    unequal = [*differences(found.pairs, beside.names), *other_rates(beside)]
    return Found(
        beside=beside, paired=found,
        steps=[(pair, step_by_step(pair)) for pair in trained],
        speeds=[(pair, (speed_of(pair.first), speed_of(pair.other))) for pair in trained],
        scores=scores_of(beside, metrics),
        texts={name: same_texts([pair for pair in found.pairs if pair.method == name]) for name in beside.methods},
        distances={method: _distances(pairs) for method, pairs in trained_of(trained)},
        unequal=unequal, dropouts=dropouts(trained),
        model_dropout_is_known=model_dropout_is_known(trained),
    )  # fmt: skip


def _distances(pairs: list[Pair]) -> Distances:
    """Of the runs that the table averages; candidates of a search that lost are no result."""
    kept = [pair for pair in pairs if pair.first.entry.role != "candidate"]
    by_seed = {pair.seed: pair.first for pair in kept}
    seeds = (sorted(by_seed)[0], sorted(by_seed)[1]) if len(by_seed) > 1 else None
    between = None if seeds is None else distance(by_seed[seeds[0]], by_seed[seeds[1]])
    return Distances([(pair, distance(pair.first, pair.other)) for pair in kept], seeds, between)
