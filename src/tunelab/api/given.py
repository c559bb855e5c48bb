"""Arguments as Python gives them: a text where a list is wanted is an error with the way out, not its letters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelab.errors import ConfigError
from tunelab.near import did_you_mean

LONGEST_SHOWN = 60


def listed(value: Any, name: str) -> list[Any]:
    """Any iterable of several things; a text, a path and a mapping are one.

    Raises:
        ConfigError: one thing, or nothing that can be gone through.
    """
    if isinstance(value, str | bytes | os.PathLike | Mapping):
        shown = _shown(str(value) if isinstance(value, os.PathLike) else value)
        raise ConfigError(f"{name}: must be a list; got {shown}; write {name}=[{shown}]")
    if not isinstance(value, Iterable):
        raise ConfigError(f"{name}: must be a list; got {_shown(value)}")
    return list(value)


def texts(value: Any, name: str) -> list[str]:
    """
    Raises:
        ConfigError: no list, or an entry that is no text.
    """
    entries = listed(value, name)
    for place, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise ConfigError(f"{name}[{place}]: must be text; got {_shown(entry)}")
    return entries


def prompts(value: Any, name: str = "prompts") -> list[str | Mapping[str, Any]]:
    """
    Raises:
        ConfigError: no list, or an entry that is neither text nor a row.
    """
    entries = listed(value, name)
    for place, entry in enumerate(entries):
        if not isinstance(entry, str | Mapping):
            raise ConfigError(f"{name}[{place}]: must be text, or a row as {{column: value}}; got {_shown(entry)}")
    return entries


def path(value: Any, name: str) -> Path:
    """
    Raises:
        ConfigError: neither text nor a path.
    """
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"{name}: must be a path; got {_shown(value)}")
    return Path(value)


def files(value: Any, name: str) -> list[Path]:
    """One path, or several.

    Raises:
        ConfigError: anything else.
    """
    several = [value] if isinstance(value, str | os.PathLike) else listed(value, name)
    return [path(one, name) for one in several]


def folders(values: tuple[Any, ...]) -> list[Path]:
    """
    Raises:
        ConfigError: none, or a list in place of one.
    """
    for value in values:
        if isinstance(value, list | tuple | set):
            raise ConfigError(f"report: folders are given one by one, as in report(*folders); got {_shown(value)}")
    if not values:
        raise ConfigError("report: of which results? Give a folder that `run` wrote")
    return [path(value, "report") for value in values]


def model(value: Any) -> str:
    """
    Raises:
        ConfigError: neither text nor a path.
    """
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"model: must be a run's folder, a model folder or a name; got {_shown(value)}")
    return os.fspath(value)


def choice(value: Any, name: str, allowed: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: neither None nor one of `allowed`.
    """
    if value is not None and value not in allowed:
        hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
        raise ConfigError(f"{name}: must be {' or '.join(map(repr, allowed))}; got {_shown(value)}.{hint}")


def outputs(value: Any, name: str) -> Path | list[str]:
    """What a model has written: a file, or a list of texts.

    Raises:
        ConfigError: one text that is no file, or an entry that is no text.
    """
    return _file(value, name) if isinstance(value, str | os.PathLike) else texts(value, name)


def references(value: Any, name: str = "references") -> Path | list[str | list[str]]:
    """What was expected: a file, or for every output a text or a list of texts.

    Raises:
        ConfigError: one text that is no file, or an entry that is neither text nor texts.
    """
    if isinstance(value, str | os.PathLike):
        return _file(value, name)
    return [
        entry if isinstance(entry, str) else texts(entry, f"{name}[{place}]")
        for place, entry in enumerate(listed(value, name))
    ]


def _file(value: str | os.PathLike[str], name: str) -> Path:
    """A text that was meant for a list is seldom the name of a file, and often too long for one."""
    try:
        is_there = Path(value).exists()
    except (OSError, ValueError):
        is_there = False
    if isinstance(value, str) and not is_there:
        shown = _shown(value)
        raise ConfigError(f"{name}: no such file: {shown}; texts themselves go in a list: {name}=[{shown}]")
    return Path(value)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else shown[: LONGEST_SHOWN - 3] + "..."
