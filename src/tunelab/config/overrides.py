"""`--set key=value`: a dotted path whose numbers index lists, a value read as YAML, applied before validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunelab.config.places import Place, Places, dotted
from tunelab.config.study_yaml import KeyPath, parse_yaml
from tunelab.errors import ConfigError, one_line

MOST_DIGITS = 9
"""Of an index. Python refuses to read a number of some thousands."""


def with_short_forms_spelled_out(study: dict[str, Any]) -> dict[str, Any]:
    """`model: X` -> {name: X}, a task `X` -> {name: X}, a method `X` or `X:` -> {X: {}}. Anything odd is left as it
    is for validation to name. New containers; the given ones (which aliases may share) are not touched."""
    study = _copied(study)
    if isinstance(study.get("model"), str):
        study["model"] = {"name": study["model"]}
    if isinstance(study.get("tasks"), list):
        study["tasks"] = [{"name": entry} if isinstance(entry, str) else entry for entry in study["tasks"]]
    if isinstance(study.get("methods"), list):
        study["methods"] = [_method_entry(entry) for entry in study["methods"]]
    return study


def apply_override(study: dict[str, Any], text: str, places: Places, *, folder: Path) -> None:
    """Write one `--set` into `study`, in place, and record where its values are from.

    Raises:
        ConfigError: not key=value, not YAML, an index out of range, a path through something without keys.
    """
    key, equals, value_text = text.partition("=")
    label = one_line(f"--set {text}")
    if not equals or not key.strip():
        raise ConfigError(f"{label}: must be key=value, as in --set batch.examples=8")
    parts = key.strip().split(".")
    if not all(parts):
        raise ConfigError(f"{label}: an empty part in the key {key!r}; parts are joined by single dots")
    try:
        parsed = parse_yaml(value_text)
    except ConfigError as error:
        raise ConfigError(f"{label}: the value is {str(error).partition(': ')[2]}") from None
    if parsed.problems:
        raise ConfigError(*(f"{label}: {problem.partition(': ')[2].removeprefix(': ')}" for problem in parsed.problems))
    path = _write(study, parts, parsed.value, label)
    places.replace(path, Place(label=label, folder=folder, sets=path))
    places.literal_escapes |= {(*path, *below) for below in parsed.literal_escapes}


def _write(study: dict[str, Any], parts: list[str], value: Any, label: str) -> KeyPath:
    container: Any = study
    path: KeyPath = ()
    for position, part in enumerate(parts):
        step = _step(container, part, path, label)
        if position == len(parts) - 1:
            container[step] = value
        else:
            if isinstance(container, dict) and container.get(step) is None:
                container[step] = {}
            container = container[step]
        path = (*path, step)
    return path


def _step(container: Any, part: str, path: KeyPath, label: str) -> str | int:
    """The key or index that `part` means in `container`."""
    if isinstance(container, list):
        count = f"{dotted(path)} has {len(container)} {'entry' if len(container) == 1 else 'entries'}"
        allowed = f"count from 0: 0 to {len(container) - 1}" if container else "set the whole list instead"
        if not part.isdecimal() or len(part) > MOST_DIGITS:
            raise ConfigError(f"{label}: {count}; {part!r} is not a number; {allowed}")
        if int(part) >= len(container):
            raise ConfigError(f"{label}: {count}; no number {part}; {allowed}")
        return int(part)
    if not isinstance(container, dict):
        raise ConfigError(f"{label}: {dotted(path)} is {container!r} and has no keys; set {dotted(path)} itself")
    if len(path) == 2 and path[0] == "methods" and part not in container and len(container) == 1:
        only = next(iter(container))
        raise ConfigError(f"{label}: {dotted(path)} is {only!r}; its options are {dotted(path)}.{only}.OPTION")
    return part


def _method_entry(entry: Any) -> Any:
    if isinstance(entry, str):
        return {entry: {}}
    if isinstance(entry, dict) and len(entry) == 1:
        return {name: {} if options is None else options for name, options in entry.items()}
    return entry


def _copied(value: Any) -> Any:
    """Keys that are no text were named when the YAML was read, and would only be named again."""
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items() if isinstance(key, str)}
    return [_copied(entry) for entry in value] if isinstance(value, list) else value
