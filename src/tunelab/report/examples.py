"""All test examples with what every method made of them, of one seed; and those on which the methods differ most."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tunelab.contracts import Metric
from tunelab.entries import BASE
from tunelab.evaluation.alone import Alone, scored_alone
from tunelab.records import Prediction
from tunelab.report.anchors import slugs
from tunelab.report.frame import Group
from tunelab.report.numbers import number, score_decimals
from tunelab.report.reading import RunRecords

LONGEST_TEXT = 700
"""Letters shown of one text where a script does not show all."""
REFERENCE = "first reference"
"""Stands in the data beside the methods' answers, so that each can be compared with it."""


class Answer(NamedTuple):
    method: str
    text: str | None
    score: str
    """This example alone; empty where it cannot be computed."""


class SideBySide(NamedTuple):
    id: str
    slug: str
    """Its part of the address: letters, digits, dots and dashes."""
    seed: int
    metric: str
    """Of the scores."""
    prompt: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]


class AllExamples(NamedTuple):
    """The test examples that every method with texts of this seed was evaluated on."""

    ids: tuple[str, ...]
    slugs: tuple[str, ...]
    seed: int
    of_method: Mapping[str, tuple[Prediction, ...]]
    """Each in the order of `ids`."""
    folders: Mapping[str, str]
    """Of each method's run, in the study's folder."""
    absent: tuple[str, ...]
    """Methods without texts of this seed."""
    alone: Alone | None
    order: tuple[int, ...]
    """Positions, the most different first: by the variance over the trained methods; as they came without scores."""

    @property
    def trained(self) -> tuple[str, ...]:
        """What the order is by: the base is in it only where it is needed."""
        return _compared(list(self.of_method))

    @property
    def names(self) -> tuple[str, ...]:
        """Whose texts stand beside each other: the methods', and before them the reference where there is any."""
        first = next(iter(self.of_method.values()))
        return (*([REFERENCE] if any(each.references for each in first) else []), *self.of_method)

    def most_different(self, num_examples: int = 8) -> tuple[SideBySide, ...]:
        """Cut to what can be read in a page. Empty where nothing was scored."""
        if self.alone is None:
            return ()
        places = self.order[:num_examples]
        scores = dict(zip(self.of_method, self.alone.runs, strict=True))
        shown = [float(values[place]) for values in scores.values() if values is not None for place in places]
        decimals = score_decimals(shown)
        return tuple(self._side_by_side(place, self.alone.metric, scores, decimals) for place in places)

    def as_json(self, anchor: str) -> dict[str, Any]:
        """What page.js reads. A text that is not there is null; scores have six digits."""
        runs = (None,) * len(self.of_method) if self.alone is None else self.alone.runs
        known = [float(value) for values in runs if values is not None for value in values]
        names = self.names
        return {
            "anchor": anchor,
            "names": names,
            "trained": [str(names.index(method)) for method in self.trained],
            "order": self.order,
            "sign": 1 if self.alone is None or self.alone.higher_is_better else -1,
            "decimals": score_decimals(known),
            "examples": [self._example(place, runs) for place in range(len(self.ids))],
        }

    def _example(self, place: int, runs: tuple[np.ndarray | None, ...]) -> dict[str, Any]:
        shown = next(iter(self.of_method.values()))[place]
        is_answered = len(self.names) > len(self.of_method)
        texts = [predictions[place].prediction for predictions in self.of_method.values()]
        scores = [None if values is None else _six_digits(float(values[place])) for values in runs]
        id, slug = self.ids[place], self.slugs[place]
        return {
            "id": id,
            **({} if id == slug else {"at": slug}),
            "prompt": shown.prompt,
            "more": shown.references[1:],
            "texts": [*((shown.references or (None,))[:1] if is_answered else ()), *texts],
            "scores": [*((None,) if is_answered else ()), *scores],
        }

    def _side_by_side(
        self, place: int, metric: str, scores: Mapping[str, np.ndarray | None], decimals: int
    ) -> SideBySide:
        shown = next(iter(self.of_method.values()))[place]
        answers = tuple(
            Answer(
                method,
                None if (text := predictions[place].prediction) is None else _cut(text),
                "" if (values := scores[method]) is None else number(float(values[place]), decimals),
            )
            for method, predictions in self.of_method.items()
        )
        references = tuple(_cut(text) for text in shown.references[:4])
        return SideBySide(
            self.ids[place], self.slugs[place], self.seed, metric, _cut(shown.prompt), references, answers
        )


def all_examples(group: Group, *, metrics: Mapping[str, Metric]) -> AllExamples | None:
    """None where no method has generated a text."""
    seed, runs = _one_seed(group)
    if not runs:
        return None
    found = {method: {prediction.id: prediction for prediction in run.predictions} for method, run in runs.items()}
    shared = set.intersection(*(set(predictions) for predictions in found.values()))
    ids = tuple(id for id in next(iter(found.values())) if id in shared)
    of_method = {method: tuple(predictions[id] for id in ids) for method, predictions in found.items()}
    if all(each.prediction is None for predictions in of_method.values() for each in predictions):
        return None
    alone = scored_alone(list(of_method.values()), group.metrics, metrics)
    return AllExamples(
        ids, slugs(ids), seed, of_method,
        folders={method: f"runs/{run.entry.id}" for method, run in runs.items()},
        absent=tuple(row.method for row in group.rows if row.method not in of_method),
        alone=alone,
        order=_order(dict(zip(of_method, alone.runs, strict=True)), len(ids)) if alone else tuple(range(len(ids))),
    )  # fmt: skip


def most_different(group: Group, *, metrics: Mapping[str, Metric], num_examples: int = 8) -> tuple[SideBySide, ...]:
    """The examples with the largest variance of the first metric over the trained methods, all of one seed."""
    found = all_examples(group, metrics=metrics)
    return () if found is None else found.most_different(num_examples)


def block(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a page's script element: nothing in it ends that element or begins another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _one_seed(group: Group) -> tuple[int, dict[str, RunRecords]]:
    """The first seed that the most methods finished. The base stands beside it whatever its own seed is."""
    seeds = [run.entry.seed for row in group.rows if row.method != BASE for run in group.runs_of(row.method)]
    seed = max(dict.fromkeys(seeds), key=seeds.count, default=0)
    found = {}
    for row in group.rows:
        runs = group.runs_of(row.method)
        chosen = [run for run in runs if run.entry.seed == seed] or (runs[:1] if row.method == BASE else [])
        if chosen and chosen[0].predictions:
            found[row.method] = chosen[0]
    return seed, found


def _compared(methods: list[str]) -> tuple[str, ...]:
    trained = tuple(method for method in methods if method != BASE)
    return trained if len(trained) > 1 else tuple(methods)


def _order(scores: Mapping[str, np.ndarray | None], num_examples: int) -> tuple[int, ...]:
    """Positions of the examples, the most different first; equal ones in the order of the test set."""
    rows = [values for method in _compared([name for name, values in scores.items() if values is not None])
            if (values := scores[method]) is not None]  # fmt: skip
    if not rows:
        return tuple(range(num_examples))
    spread = np.nan_to_num(np.var(np.stack(rows), axis=0), nan=-1.0)
    return tuple(int(place) for place in np.argsort(-spread, kind="stable"))


def _six_digits(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text) - LONGEST_TEXT:,} letters more)"
