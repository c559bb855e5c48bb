"""What a reader must know before comparing a row with the others: said on the row itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tunelab.report.devices import either, is_uneven, spread_of
from tunelab.report.numbers import number, rate, score_decimals
from tunelab.report.quality import ScoreCell
from tunelab.report.reading import RunRecords

NOT_ABOVE_BASE = "does not beat the base"
ONE_SEED = "one seed beside rows with several: not compared, and its interval leaves out the variation between seeds"
UNSTEADY = "its seeds disagree, so it sometimes fails"
UNEQUAL_SEARCH = "unequal number of learning rates tried"

LONGEST_ERROR = 240
"""Letters of an error that stand under the table."""


class Marked(NamedTuple):
    """What marks are made from: one method of a group."""

    runs: Sequence[RunRecords]
    """Finished runs that the row averages."""
    cells: Mapping[str, ScoreCell]
    num_tried: int
    """Candidates of its search, without a rung that `learning_rate: auto` adds at an edge: the same rule for all."""
    is_base: bool
    is_unsteady: bool = False
    """On the deciding metric, which is the first."""
    unfinished: Sequence[str] = ()
    """What is said of its runs that failed or have not finished."""


def marks_of(method: str, *, group: Mapping[str, Marked]) -> tuple[str, ...]:
    """The marks of one row, seen against the other rows of its group."""
    row = group[method]
    return (
        *row.unfinished,
        *(reason for cell in row.cells.values() for reason in cell.left_out),
        *_against_base(row),
        *_seeds(row, group),
        *_unsteady(row),
        *_search_effort(row, group),
        *_decoding(method, group),
        *_devices(method, group),
        *_surroundings(method, group),
    )


def unfinished(runs: Sequence[RunRecords]) -> tuple[str, ...]:
    """'seed 1 failed: out of memory', of one method's runs; those that say the same together."""
    said: dict[str, list[str]] = {}
    for run in runs:
        searched = f" at learning rate {rate(run.entry.learning_rate)}" if run.entry.role == "candidate" else ""
        if run.state == "failed":
            said.setdefault(f"failed: {_first_letters(run.error or '')}", []).append(f"{run.entry.seed}{searched}")
        if run.state == "pending":
            said.setdefault("not finished", []).append(f"{run.entry.seed}{searched}")
    return tuple(f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} {what}" for what, seeds in said.items())


def _first_letters(error: str) -> str:
    return error if len(error) <= LONGEST_ERROR else f"{error[:LONGEST_ERROR]} … (whole under Failed runs)"


def _against_base(row: Marked) -> list[str]:
    tested = {name: cell.beats_base for name, cell in row.cells.items() if cell.beats_base is not None}
    below = [name for name, beats in tested.items() if not beats]
    if row.is_base or not below:
        return []
    return [NOT_ABOVE_BASE if len(below) == len(tested) else f"{NOT_ABOVE_BASE} on {', '.join(below)}"]


def _seeds(row: Marked, group: Mapping[str, Marked]) -> list[str]:
    several = any(len(other.runs) > 1 for other in group.values() if not other.is_base)
    return [ONE_SEED] if several and len(row.runs) == 1 and not row.is_base else []


def _unsteady(row: Marked) -> list[str]:
    if not row.is_unsteady:
        return []
    name = next(iter(row.cells))
    values = {run.entry.seed: run.result.scores[name].value for run in row.runs if name in run.result.scores}
    known = [value for value in values.values() if value is not None]
    seeds = ", ".join(f"seed {seed}: {number(value, score_decimals(known))}" for seed, value in values.items())
    return [f"{UNSTEADY} ({name}: {seeds})"]


def _search_effort(row: Marked, group: Mapping[str, Marked]) -> list[str]:
    counts = {other.num_tried for other in group.values() if _has_rate(other)}
    if not _has_rate(row) or len(counts) < 2:
        return []
    return [f"{UNEQUAL_SEARCH}: {min(counts)} to {max(counts)} in this table"]


def _has_rate(row: Marked) -> bool:
    """The base and what is made of finished runs have none to search for."""
    return any(run.result.learning_rate is not None for run in row.runs)


def _devices(method: str, group: Mapping[str, Marked]) -> list[str]:
    """Where the number of devices differs, time and memory are those of another machine."""
    row, marks = group[method], []
    spreads = {
        name: Counter(spread_of(run.result) for run in other.runs) for name, other in group.items() if not other.is_base
    }
    here = spreads.get(method, Counter())
    if len(here) > 1:
        seeds = "; ".join(f"seed {run.entry.seed}: {spread_of(run.result).text}" for run in row.runs)
        marks.append(f"its seeds were trained over different devices ({seeds})")
    if not row.is_base and any(is_uneven(run.result) for run in row.runs):
        marks.append("not trained over the same number of devices from start to end: its time counts in all alone")
    everywhere = sum(spreads.values(), Counter())
    most = max(everywhere.values(), default=0)
    usual = [spread for spread, number in everywhere.items() if number == most]
    if not here or set(here) == set(usual):
        return marks
    others = [spread for spread in everywhere if spread not in here] or usual
    mark = f"trained over {either(here)}, elsewhere {either(others)}"
    if len({spread.num_devices for spread in everywhere}) > 1:
        mark += ": memory of one device and time by the clock are not comparable, those in all are"
    return [*marks, mark]


def _decoding(method: str, group: Mapping[str, Marked]) -> list[str]:
    """Where other decoding was asked for and not every run has been evaluated again."""
    found = {name: [how for run in row.runs if (how := decoding(run))] for name, row in group.items()}
    everywhere, marks = [how for of_row in found.values() for how in of_row], []
    for name in dict.fromkeys(name for how in everywhere for name in how):
        values = Counter(str(how.get(name)) for how in everywhere)
        here = dict.fromkeys(str(how.get(name)) for how in found[method])
        if len(values) > 1 and here:
            others = [value for value in values if value not in here] or list(values)
            marks.append(f"{name} {', '.join(here)} (elsewhere {', '.join(others)})")
    return [f"decoding differs, so that texts are not comparable: {'; '.join(marks)}"] if marks else []


def decoding(run: RunRecords) -> dict[str, object]:
    """How the texts of a finished run were generated; empty: there are none."""
    if run.config is None or all(each.prediction is None for each in run.predictions):
        return {}
    return {**run.config.generation.model_dump(), "engine": run.config.evaluation.engine}


def _surroundings(method: str, group: Mapping[str, Marked]) -> list[str]:
    """Packages, threads, hardware, precision: not part of a run's identity, so they may differ unnoticed."""
    facts = {name: [surroundings(run) for run in row.runs] for name, row in group.items()}
    marks = []
    for fact in dict.fromkeys(fact for runs in facts.values() for run in runs for fact in run):
        everywhere = Counter(run[fact] for runs in facts.values() for run in runs if fact in run)
        usual = everywhere.most_common(1)[0][0]
        here = [value for value in dict.fromkeys(run.get(fact) for run in facts[method]) if value is not None]
        if any(value != usual for value in here):
            marks.append(f"{fact} differs: {', '.join(here)} (elsewhere {usual})")
    return marks


def surroundings(run: RunRecords) -> dict[str, str]:
    """Where a finished run's numbers were made, as comparable texts; one entry a package."""
    made = run.result.provenance
    train = run.result.phases.get("train")
    facts = {
        "tunelab version": made.tunelab, "Python version": made.python, "number of threads": str(made.threads),
        "precision": made.precision, "device": made.device, "hardware": made.hardware, "platform": made.platform,
        **{f"package {name}": version for name, version in sorted(made.packages.items())},
    }  # fmt: skip
    if train is not None and train.peak_method is not None:
        facts["way of measuring memory"] = train.peak_method
    return facts
