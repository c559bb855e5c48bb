"""What makes two back ends' runs of the same setting unequal, before the frameworks themselves do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunelab.report.alignment.pairs import Beside, Pair
from tunelab.report.devices import spread_of
from tunelab.report.marks import surroundings
from tunelab.report.numbers import rate, setting_text
from tunelab.report.reading import RunRecords

OWN = ("id", "backend", "parents", "ranks")
"""Fields of a run's configuration that differ by themselves; `ranks` is read from the result."""


def differences(pairs: Sequence[Pair], names: tuple[str, str]) -> list[tuple[str, str]]:
    """What differs within any pair, and how: 'precision', 'torch: fp32; jittor: bf16'."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        first, other = map(_facts, pair)
        for fact in first:
            if fact in other and first[fact] != other[fact]:
                found.setdefault(fact, {})[f"{names[0]}: {first[fact]}; {names[1]}: {other[fact]}"] = None
    return [(fact, " / ".join(ways)) for fact, ways in found.items()]


def other_rates(beside: Beside) -> list[tuple[str, str]]:
    """Methods whose searches chose differently: their metrics are not of the same training."""
    rows = {row.method: row for row in beside.other.rows}
    found = []
    for row in beside.first.rows:
        theirs = rows.get(row.method)
        if theirs is None or row.learning_rate is None or theirs.learning_rate is None:
            continue
        chosen = [(each.learning_rate, each.searched) for each in (row, theirs)]
        if chosen[0] != chosen[1]:
            ways = (f"{name}: {', '.join(filter(None, (rate(at), setting_text(more))))}"
                    for name, (at, more) in zip(beside.names, chosen, strict=True))  # fmt: skip
            found.append((f"what the search of {row.method} chose", "; ".join(ways)))
    return found


def dropouts(pairs: Sequence[Pair]) -> dict[str, str]:
    """Trained methods that draw dropout, with what says so. Each framework draws its own random numbers."""
    of_model = [f"{name} {value:g} of the model" for name, value in _dropout_in(_model_config(pairs))]
    found: dict[str, str] = {}
    for pair in pairs:
        own = [] if pair.first.config is None else _dropout_in(pair.first.config.method)
        said = [*(f"{name} {value:g}" for name, value in own), *of_model]
        if said:
            found[pair.method] = ", ".join(said)
    return found


def model_dropout_is_known(pairs: Sequence[Pair]) -> bool:
    """Whether the model's own configuration could be read."""
    return bool(_model_config(pairs))


def _facts(run: RunRecords) -> dict[str, str]:
    facts = {**surroundings(run), "trained over": spread_of(run.result).text}
    if run.config is not None:
        asked = run.config.model_dump(mode="json", exclude=set(OWN))
        facts |= {f"{name} of the configuration": value for name, value in _flat(asked)}
    return facts


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """'budget.steps', '60': so that only what differs is said."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, json.dumps(value, ensure_ascii=False)


def _model_config(pairs: Sequence[Pair]) -> dict[str, Any]:
    """The Hugging Face configuration that full fine-tuning saves, or that lies in the model's folder; empty: neither.
    One for all: a study has one model."""
    runs = [pair.first for pair in pairs]
    places = [run.folder / "model" for run in runs]
    places += [Path(run.config.model.name) for run in runs if run.config is not None]
    for place in dict.fromkeys(places):
        try:
            found = json.loads((place / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _dropout_in(options: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number above 0 whose name says that it is one: dropout, lora_dropout, attn_pdrop, dropout_rate."""
    if isinstance(options, dict):
        for key, value in options.items():
            yield from _dropout_in(value, str(key))
    elif isinstance(options, list | tuple):
        for value in options:
            yield from _dropout_in(value, name)
    elif "drop" in name and isinstance(options, int | float) and not isinstance(options, bool) and options > 0:
        yield name, float(options)
