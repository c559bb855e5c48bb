"""Which options of a method or a task are paths, however deep: made absolute for a run, left out of its identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

from tunelab.config.read import ReadStudy


def absolute_paths(read: ReadStudy, where: str, cls: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Paths are relative to the study's folder, or to the working folder when given by --set; `where` is the place of
    the options in the study."""
    return _mapped(cls, options, where, lambda place, path: str(read.folder_of(place) / Path(path).expanduser()))


def names_of_paths(cls: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Only the last name of each: a moved folder is the same study, its contents are told by revisions."""
    return _mapped(cls, options, "", lambda place, path: Path(path).name)


def _mapped(
    cls: type[BaseModel], options: Mapping[str, Any], where: str, change: Callable[[str, str], str]
) -> dict[str, Any]:
    result = dict(options)
    for name, hint in get_type_hints(cls).items():
        kinds = (hint, *get_args(hint))
        given = result.get(name)
        if Path in kinds and isinstance(given, str) and given:
            result[name] = change(f"{where}.{name}", given)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(given, Mapping):
                result[name] = _mapped(kind, given, f"{where}.{name}", change)
    return result
