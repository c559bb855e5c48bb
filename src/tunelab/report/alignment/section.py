"""The Alignment section: whether two back ends agree, in one sentence, in tables, figures and comparison.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tunelab.contracts import Metric
from tunelab.report.alignment import scores, steps
from tunelab.report.alignment.distance import Distance
from tunelab.report.alignment.figures import figures
from tunelab.report.alignment.found import Distances, Found, find
from tunelab.report.alignment.pairs import beside_first, run_text
from tunelab.report.alignment.sentence import headline, sentence
from tunelab.report.alignment.show import distance_table, facts_table, scores_table, speed_table, steps_table
from tunelab.report.frame import Comparison
from tunelab.report.plots import Plot, slug
from tunelab.report.tables import Part


class Alignment(NamedTuple):
    """One back end beside the first, on one task."""

    title: str
    anchor: str
    headline: str
    """One sentence, for the top of the page."""
    sentence: str
    plots: tuple[Plot, ...]
    parts: tuple[Part, ...]
    facts: dict[str, Any]
    """For comparison.json."""


def alignments(comparison: Comparison, metrics: Mapping[str, Metric]) -> tuple[Alignment, ...]:
    """Empty for a study with one back end."""
    used: set[str] = set()
    several = len({group.study for group in comparison.groups}) > 1
    return tuple(
        _alignment(find(beside, metrics), anchor=f"alignment-{number}", used=used, with_study=several)
        for number, beside in enumerate(beside_first(comparison), start=1)
    )


def _alignment(found: Found, *, anchor: str, used: set[str], with_study: bool) -> Alignment:
    first, other = found.beside.names
    task = found.beside.first.task
    place = f"{found.beside.study}: {task}" if with_study else task
    title = f"{place}, {other} beside {first}"
    said = sentence(found)
    plots = figures(found.paired.pairs, found.beside.names, title=title, slug=f"{slug(title, used)}_alignment")
    tested = next((each for each in found.scores if each.is_tested), None)
    tables = {
        "Losses and gradients, step by step": steps_table(found),
        **{
            f"Final metrics: {each.method}": scores_table(each, found, explained=each is tested)
            for each in found.scores
        },
        "Time and memory": speed_table(found),
        "Distance of what was trained": distance_table(found),
        "What may set them apart": facts_table(found.unequal + _dropout_lines(found)),
        "Runs that are not compared": facts_table(found.paired.alone, heads=("Run", "Where it stands")),
    }
    parts = tuple(Part(heading, table) for heading, table in tables.items() if table is not None)
    top = headline(found, place)
    return Alignment(f"Alignment: {title}", anchor, top, said, plots, parts, _facts(found, f"{top} {said}"))


def _dropout_lines(found: Found) -> list[tuple[str, str]]:
    why = "each framework draws its own random numbers, so losses cannot agree step by step"
    lines = [(f"dropout in {method}", f"{said}: {why}") for method, said in found.dropouts.items()]
    if not found.model_dropout_is_known:
        said = f"not in the records; where it is above 0 (GPT-2 and T5 come with 0.1), {why}"
        lines.append(("dropout of the base model itself", said))
    return lines


def _facts(found: Found, said: str) -> dict[str, Any]:
    first, other = found.beside.names
    runs = []
    for (pair, compared), (_, (mine, theirs)) in zip(found.steps, found.speeds, strict=True):
        runs.append({
            "method": pair.method, "seed": pair.seed, "learning_rate": pair.first.entry.learning_rate,
            "setting": dict(pair.first.entry.setting), "runs": [pair.first.entry.id, pair.other.entry.id],
            **steps.as_json(compared), "speed": {first: mine._asdict(), other: theirs._asdict()},
        })  # fmt: skip
    return {
        "study": found.beside.study, "task": found.beside.first.task, "first": first, "other": other,
        "sentence": said, "pairs": runs,
        "methods": {
            each.method: {
                **scores.as_json(each), "texts_same": found.texts[each.method][0], "texts": found.texts[each.method][1],
            }
            for each in found.scores
        },
        "distances": {method: _distance_facts(each) for method, each in found.distances.items()},
        "not_the_same": dict(found.unequal), "dropout": found.dropouts,
        "not_compared": dict(found.paired.alone),
    }  # fmt: skip


def _distance_facts(found: Distances) -> dict[str, Any]:
    between = None
    if found.yardstick is not None and found.seeds is not None:
        between = {"seeds": list(found.seeds), **_one_distance(found.yardstick)}
    by_seed = [{"run": run_text(pair.first.entry), "seed": pair.seed, **_one_distance(each)}
               for pair, each in found.by_pair]  # fmt: skip
    return {"by_seed": by_seed, "between_seeds_of_first": between}


def _one_distance(found: Distance) -> dict[str, Any]:
    return {
        "relative": found.relative, "product": found.product, "notes": list(found.notes),
        "tensors": {tensor.name: tensor.relative for tensor in found.tensors},
    }  # fmt: skip
