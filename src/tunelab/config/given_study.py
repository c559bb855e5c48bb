"""A study that is given as a dict, as its YAML would be: plain values, and what is wrong with them by key path."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tunelab.config.study_yaml import MAX_VALUES, KeyPath
from tunelab.errors import ConfigError


class GivenStudy(NamedTuple):
    value: dict[str, Any]
    """Plain dicts, lists, text, numbers, booleans, None; nothing of it is the caller's own."""
    paths: list[KeyPath]
    """Of every key and list entry."""
    problems: list[tuple[KeyPath, str]]
    literal_escapes: tuple[KeyPath, ...]
    """Texts with a backslash and an n or t in them."""


def plain_study(given: Mapping[Any, Any]) -> GivenStudy:
    """Tuples and ranges become lists, paths text and NumPy's numbers Python's, as YAML has none of these.

    Raises:
        ConfigError: more values than a study has, as of a dict that contains itself.
    """
    paths: list[KeyPath] = []
    problems: list[tuple[KeyPath, str]] = []
    try:
        value = _plain(given, (), paths, problems)
    except RecursionError:
        raise ConfigError("the study: nested too deeply to be one (a dict that contains itself?)") from None
    escapes = [path for path, text in _texts(value, ()) if re.search(r"\\[nt]", text)]
    return GivenStudy(value, paths, problems, tuple(escapes))


def _plain(value: Any, path: KeyPath, paths: list[KeyPath], problems: list[tuple[KeyPath, str]]) -> Any:
    paths.append(path)
    if len(paths) > MAX_VALUES:
        raise ConfigError(f"the study: more than {MAX_VALUES} values; a study has a few hundred")
    if isinstance(value, Mapping):
        return {
            key: _plain(entry, (*path, key), paths, problems)
            for key, entry in value.items()
            if _is_text(key, path, problems)
        }
    if isinstance(value, list | tuple | range):
        return [_plain(entry, (*path, place), paths, problems) for place, entry in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        problems.append((path, f"must be a finite number; got {value}"))
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        problems.append((path, "holds half a character (a lone surrogate); write the character itself"))
    elif value is not None and not isinstance(value, str | bool | int | float):
        rule = "must be text, a number, True, False, None, a list or a dict, as YAML would have it"
        problems.append((path, f"{rule}; got {_kind(value)}"))
        return None
    return value


def _is_text(key: Any, path: KeyPath, problems: list[tuple[KeyPath, str]]) -> bool:
    if not isinstance(key, str):
        problems.append((path, f"the key {key!r} must be text; put it in quotes"))
    return isinstance(key, str)


def _kind(value: Any) -> str:
    """Arrays and tensors print over many lines."""
    shown = repr(value)
    return f"{type(value).__name__} {shown}" if len(shown) <= 40 and "\n" not in shown else type(value).__name__


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _texts(entry, (*path, key))
