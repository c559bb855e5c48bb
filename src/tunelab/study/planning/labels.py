"""Labels of methods: the file's name, what the method says of itself, and where the same stands several times, what
differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunelab.contracts import Method

Entry = tuple[str, Method, Mapping[str, Any]]
"""Name, method, and what the study says of the fields that are searched: a label shows that where rows differ in it."""


def labels(entries: Sequence[Entry]) -> list[str]:
    """'lora' alone; 'lora r=4', 'lora r=8' where the rank differs. Equal entries get equal labels."""
    heads = [_head(entry, [other for other in entries if other[0] == entry[0]]) for entry in entries]
    return [
        " ".join([head, *_differences(entry, [o for o, other in zip(entries, heads, strict=True) if other == head])])
        for entry, head in zip(entries, heads, strict=True)
    ]


def _head(entry: Entry, same: list[Entry]) -> str:
    """'sequential full then lora r=4': the parts are told apart as methods are."""
    parts = []
    for position, part in enumerate(_parts(entry)):
        beside = [other_parts[position] for other in same if position < len(other_parts := _parts(other))]
        parts.append(labels(beside)[next(index for index, other in enumerate(beside) if other[1] is part[1])])
    return f"{entry[0]} {entry[1].summary(parts)}".strip()


def _parts(entry: Entry) -> list[Entry]:
    entries = getattr(entry[1], "parts", ())
    parts = zip(entries, entry[1].members, strict=True) if entries else ()
    return [(next(iter(options)), part, {}) for options, part in parts]


def _differences(entry: Entry, same: list[Entry]) -> list[str]:
    method = entry[1]
    words = []
    further = dict.fromkeys(field for other in same for field in other[1].model_extra or {})
    for field in (*type(method).model_fields, *further):
        values = [_said(field, other) for other in same]
        mine = _said(field, entry)
        if any(value != mine for value in values) and not (mine is None and field in further):
            words.append(f"{method.short_names.get(field, field)}={shown(mine)}")
    return words


def _said(field: str, entry: Entry) -> Any:
    """A field's value; of one that is searched all of them, so that they are no list that is the value itself."""
    _, method, searched = entry
    if field not in searched:
        return getattr(method, field, None)
    return tuple(searched[field]) if isinstance(searched[field], list) else searched[field]


def shown(value: Any) -> str:
    """A value of a field in a few letters."""
    if isinstance(value, tuple):
        return "+".join(shown(part) for part in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
