"""What makes the rows comparable, read back from the records: the same data, steps, tokens, rule and machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tunelab.entries import BASE
from tunelab.report.devices import Spread, spread_of
from tunelab.report.frame import Group
from tunelab.report.numbers import MISSING
from tunelab.report.reading import RunRecords
from tunelab.report.tables import Cell, Column, Table, cells, words

Read = Callable[[RunRecords], Any]


def _of_config(read: Callable[[Any], Any]) -> Read:
    return lambda run: None if run.config is None else read(run.config)


MOST_COLUMNS = 8
"""Settings of an optimizer with a column of their own: what most parameter groups have."""

KEPT = {"last": "after the last step", "best": "of the lowest validation loss"}
"""By `validation.keep`, one rule for every method."""

FACTS: dict[str, Read] = {
    "base model": _of_config(lambda config: f"{config.model.name} @ {config.model_revision[:12]}"),
    "data revision": _of_config(lambda config: config.data_revision[:16]),
    "test examples": lambda run: next((score.n for score in run.result.scores.values()), None),
    "optimizer steps": lambda run: run.result.num_steps,
    "tokens": lambda run: run.result.num_tokens,
    "supervised tokens": lambda run: run.result.num_supervised_tokens,
    "budget": _of_config(lambda config: settings(config.budget.model_dump())),
    "examples per step": _of_config(lambda config: config.batch.examples),
    "tokens per row, at most": _of_config(lambda config: config.batch.max_length),
    "schedule": _of_config(lambda config: settings(config.schedule.model_dump())),
    "weights that are the result": _of_config(
        lambda config: KEPT[config.validation.keep],
    ),
    "label smoothing": _of_config(lambda config: config.loss.label_smoothing),
    "decoding": _of_config(lambda config: settings(config.generation.model_dump())),
    "activation checkpointing": _of_config(lambda config: config.activation_checkpointing),
    "precision": lambda run: run.result.provenance.precision,
    "threads": lambda run: run.result.provenance.threads,
    "hardware": lambda run: run.result.provenance.hardware,
}


ONE = Spread(1)
DEVICES: dict[str, Read] = {"trained over": lambda run: spread_of(run.result).text}
"""Said where anything was trained over more than one."""
WEIGHTS: dict[str, Read] = {"trained matrices held in": _of_config(lambda config: config.weights)}
"""Said where any are not in fp32."""


def fairness_table(group: Group) -> Table | None:
    """One line a fact; where methods differ for the same seed, each method's own value."""
    runs = {row.method: group.runs_of(row.method) for row in group.rows if row.method != BASE}
    runs = {method: done for method, done in runs.items() if done}
    if not runs:
        return None
    rows = []
    every = [run for done in runs.values() for run in done]
    facts = {
        **FACTS,
        **(DEVICES if any(spread_of(run.result) != ONE for run in every) else {}),
        **(WEIGHTS if any(run.config is not None and run.config.weights != "fp32" for run in every) else {}),
    }
    for fact, read in facts.items():
        values = {method: {run.entry.seed: read(run) for run in done} for method, done in runs.items()}
        same = _same_for_every_seed(values)
        value = _shown([each for seeds in values.values() for each in seeds.values()]) if same else _apart(values)
        rows.append((Cell(fact), Cell(value), Cell("yes" if same else "no", tone="" if same else "bad")))
    seeds = _shown(sorted({run.entry.seed for done in runs.values() for run in done}))
    same = len({tuple(sorted(run.entry.seed for run in done)) for done in runs.values()}) == 1
    apart = "; ".join(f"{method}: {_shown(sorted(run.entry.seed for run in done))}" for method, done in runs.items())
    rows.append(
        (
            Cell("seeds finished"),
            Cell(seeds if same else apart),
            Cell("yes" if same else "no", tone="" if same else "bad"),
        )
    )
    feet = ("Compared seed by seed over the finished runs. The order of examples is a function of the seed alone.",)
    return Table("", (words("Fact"), words("Value"), words("Same for every method")), tuple(rows), feet)


def optimizer_table(group: Group) -> Table | None:
    """The effective optimizer of each run, as its live objects reported it."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in group.rows:
        for run in group.runs_of(row.method):
            for part in run.result.optimizer:
                found.setdefault((row.method, json.dumps(part, default=str)), []).append(run.entry.seed)
    if not found:
        return None
    parts = [(method, json.loads(text), seeds) for (method, text), seeds in found.items()]
    names = list(dict.fromkeys(name for _, part, _ in parts for name in part))
    shared = [name for name in names if 2 * sum(name in part for _, part, _ in parts) > len(parts)][:MOST_COLUMNS]
    others = [name for name in names if name not in shared]
    rows = [
        cells(
            method, *(value_text(part.get(name)) for name in shared),
            *([settings({name: part.get(name) for name in others}) or MISSING] if others else []), _shown(seeds),
        )
        for method, part, seeds in parts
    ]  # fmt: skip
    columns = (*(words(name) for name in shared), *([words("Other settings")] if others else []))
    return Table("", (words("Method"), *columns, Column("Seeds")), tuple(rows), ("Read back from the live objects.",))


def settings(values: dict[str, Any]) -> str:
    """'kind linear, warmup 0.03'; what is not set is left out."""
    known = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {value_text(value)}" for name, value in known.items())


def value_text(value: Any) -> str:
    """Any JSON value as short text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return settings(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return str(value)


def _same_for_every_seed(values: dict[str, dict[int, Any]]) -> bool:
    seeds = {seed for of_method in values.values() for seed in of_method}
    return all(len({str(each[seed]) for each in values.values() if seed in each}) == 1 for seed in seeds)


def _apart(values: dict[str, dict[int, Any]]) -> str:
    """Methods with the same values are named together."""
    methods: dict[str, list[str]] = {}
    for method, seeds in values.items():
        methods.setdefault(_shown(list(seeds.values())), []).append(method)
    return "; ".join(f"{', '.join(names)}: {value}" for value, names in methods.items())


def _shown(values: Sequence[Any]) -> str:
    distinct = list(dict.fromkeys(map(value_text, values)))
    return " / ".join(distinct) if len(distinct) <= 4 else f"{distinct[0]} / … / {distinct[-1]}"
