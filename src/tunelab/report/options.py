"""Every option of every row as it was run, read from run.json; and every other setting of the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tunelab.config.launch import Ranks
from tunelab.records import RunResult
from tunelab.report.reading import RunRecords

NOT_OPTIONS = ("name", "label")
"""Fields of a run's method that say which one it is."""
OWN = ("id", "seed", "method", "parents")
"""Fields of run.json that are a run's own: they stand in the tables of methods and runs."""


def options_of(runs: Sequence[RunRecords]) -> dict[str, Any]:
    """A method's fields, defaults included, of the first of its runs that has begun. What its runs differ in, as where
    the weights of each seed were searched, has a list of all values under the field's name and ' (by seed)'."""
    found = [run.config.method for run in runs if run.config is not None]
    options: dict[str, Any] = {}
    for name in dict.fromkeys(name for each in found for name in each):
        values = [each[name] for each in found if name in each]
        distinct = [value for place, value in enumerate(values) if value not in values[:place]]
        if name not in NOT_OPTIONS:
            options |= {name: distinct[0]} if len(distinct) == 1 else {f"{name} (by seed)": values}
    return options


def effective_optimizer(done: Sequence[RunResult]) -> list[dict[str, Any]]:
    """As the first finished seed's live objects reported it; empty where nothing was trained."""
    return list(next((result.optimizer for result in done if result.optimizer), []))


def settings_of(run: RunRecords) -> dict[str, str]:
    """'batch.examples' -> '16': what run.json says beside the method; empty where it cannot be read."""
    if run.config is None:
        return {}
    alone = {"ranks"} if run.config.ranks == Ranks() else set()  # one device, as without the key
    asked = run.config.model_dump(mode="json", exclude=set(OWN) | alone)
    return {name: option_text(value) for name, value in _flat(asked)}


def option_text(value: Any) -> str:
    """Any JSON value as a reader of a study file knows it: '0.0002', 'yes', 'c_attn, c_proj', '{q: 8, v: 16}'."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {option_text(each)}' for name, each in value.items())}}}" if value else "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(option_text, value))}]" if value else "none"
    return str(value)


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
