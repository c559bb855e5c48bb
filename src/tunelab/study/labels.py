"""Labels of methods: the file's name, and where the same method stands several times, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunelab.contracts import Method


def labels(entries: Sequence[tuple[str, Method, tuple[float, ...]]]) -> list[str]:
    """'lora' alone; 'lora r=4', 'lora r=8' where the rank differs. Equal entries get equal labels."""
    return [_label(entry, [other for other in entries if other[0] == entry[0]]) for entry in entries]


def _label(entry: tuple[str, Method, tuple[float, ...]], same: list[tuple[str, Method, tuple[float, ...]]]) -> str:
    name, method, rates = entry
    words = [name]
    further = dict.fromkeys(field for other in same for field in other[1].model_extra or {})
    for field in (*type(method).model_fields, *further):
        if field == "learning_rate":
            values, mine = [other[2] for other in same], rates
        else:
            values, mine = [getattr(other[1], field, None) for other in same], getattr(method, field, None)
        if any(value != mine for value in values) and not (mine is None and field in further):
            words.append(f"{method.short_names.get(field, field)}={_show(mine)}")
    return " ".join(words)


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(_show(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
