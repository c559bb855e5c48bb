"""The methods as they were run: every option of every row beside the rule that trained it, and the runs' settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tunelab.entries import BASE
from tunelab.report.frame import Comparison, Group, Row
from tunelab.report.numbers import MISSING, rate
from tunelab.report.options import option_text, settings_of
from tunelab.report.tables import Cell, Column, Table, words
from tunelab.report.verdict import place

MOST_COLUMNS = 5
"""Options with a column of their own; the others stand in one cell."""
FEET = (
    "Every option of the method as it was run, defaults included. Quiet: the same in every row that has the option.",
)


def methods_table(group: Group) -> Table | None:
    """A row a method. Options that several methods have are columns."""
    rows = [row for row in group.rows if row.method != BASE]
    if not any(row.options for row in rows):
        return None
    own = {row.method: _without_rate(row) for row in rows}
    held = Counter(name for options in own.values() for name in options)
    in_columns = [name for name, number in held.most_common() if number > 1][:MOST_COLUMNS]
    alike = {name for name, number in held.items() if number > 1 and _is_alike(name, own)}
    columns = (
        words("Method"), words("Kind"), Column("Learning rate"), *(words(name) for name in in_columns),
        words("Other options" if in_columns else "Options"), words("Effective optimizer"),
    )  # fmt: skip
    shown = []
    for row in rows:
        options = own[row.method]
        others = {name: value for name, value in options.items() if name not in in_columns}
        shown.append((
            Cell(row.method), Cell(_kind(row, group)), Cell(_rate(row)),
            *(Cell(option_text(options[name]) if name in options else MISSING) for name in in_columns),
            _others(others, alike) if row.options else Cell(_unknown(row)), Cell(_rules(row)),
        ))  # fmt: skip
    return Table("", columns, tuple(shown), FEET)


def settings_table(comparison: Comparison) -> Table | None:
    """One line a setting of run.json beside the methods' own; where values differ, whose each is."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for group in comparison.groups:
        where = place(group, comparison.groups) if len(comparison.groups) > 1 else ""
        for run in group.runs:
            for name, value in settings_of(run).items():
                methods = found.setdefault(name, {}).setdefault(value, {}).setdefault(where, [])
                if run.entry.method not in methods:
                    methods.append(run.entry.method)
    rows = tuple((Cell(name), Cell(_whose(values))) for name, values in found.items())
    return Table("", (words("Setting"), words("Value")), rows, ("As in the runs' run.json.",)) if rows else None


def _without_rate(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.options.items() if name != "learning_rate"}


def _unknown(row: Row) -> str:
    """Why there are no options to show."""
    return "not known: no run.json of it can be read" if row.num_seeds or row.failures else "no run of it has begun"


def _is_alike(name: str, options: Mapping[str, dict[str, Any]]) -> bool:
    return len({option_text(each[name]) for each in options.values() if name in each}) == 1


def _kind(row: Row, group: Group) -> str:
    """The method's name in a study file, which a label may hide."""
    configs = [run.config for run in group.runs if run.entry.method == row.method and run.config is not None]
    return str(configs[0].method.get("name", MISSING)) if configs else MISSING


def _rate(row: Row) -> str:
    value = row.learning_rate if row.learning_rate is not None else row.options.get("learning_rate")
    return rate(value) if isinstance(value, float | int) else option_text(value) if value else MISSING


def _others(options: dict[str, Any], alike: set[str]) -> Cell:
    apart, same = (
        ", ".join(f"{name}={option_text(value)}" for name, value in options.items() if (name in alike) is quiet)
        for quiet in (False, True)
    )
    return Cell(apart or ("" if same else MISSING), below=same)


def _rules(row: Row) -> str:
    """'AdamW on projected gradients + AdamW'; its settings stand in the table of effective optimizers."""
    rules = [str(part.get("optimizer", part.get("rule", "?"))) for part in row.optimizer]
    return " + ".join(dict.fromkeys(rules)) or "nothing is trained" if row.num_seeds else MISSING


def _whose(values: Mapping[str, dict[str, list[str]]]) -> str:
    """'fp32'; 'restaurants: 256; headlines: 64'; 'restaurants (full, lora): 16; restaurants (galore): 8'."""
    if len(values) == 1:
        return next(iter(values))
    shared = Counter(where for places in values.values() for where in places)
    said = []
    for value, places in values.items():
        owners = []
        for where, methods in places.items():
            listed = ", ".join(methods)
            owners.append(where if shared[where] == 1 and where else f"{where} ({listed})" if where else listed)
        said.append(f"{', '.join(owners)}: {value}")
    return "; ".join(said)
