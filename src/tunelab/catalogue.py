"""Methods, tasks, metrics, back ends and trackers by name: files of their folders, and modules of other packages by
entry point.

A file's name is its public name; a leading underscore hides it. What needs more than one file is a folder of that name
with a `method.py`, `task.py`, `metric.py` or `backend.py` in it. Listing parses the files and imports nothing;
loading imports one module and returns the one final class in it. A package of one's own joins with

    [project.entry-points."tunelab.methods"]
    my_method = "my_package.my_method"
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from tunelab.errors import ConfigError
from tunelab.near import did_you_mean, near

__all__ = ["KINDS", "Kind", "describe", "load", "names", "near"]

Kind = Literal["methods", "tasks", "metrics", "backends", "trackers"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_HERE = Path(__file__).parent


def names(kind: Kind) -> list[str]:
    """Public names of a kind, sorted; nothing is imported."""
    return sorted({*_files(kind), *_entry_points(kind)})


def describe(kind: Kind) -> dict[str, str]:
    """Name -> first line of the file's docstring, sorted by name; nothing is imported."""
    files = {name: _entry_file(point) for name, point in _entry_points(kind).items()} | _files(kind)
    return {name: _first_line(files[name]) for name in sorted(files)}


def load(kind: Kind, name: str) -> type:
    """The one final class of that kind in the module of that name.

    Raises:
        ConfigError: no such name (with the nearest one), a name given twice, or a package it needs is missing.
    """
    files, points = _files(kind), _entry_points(kind)
    singular = kind.removesuffix("s")
    if name not in files and name not in points:
        available = ", ".join(names(kind)) or "none"
        hint = did_you_mean(name, names(kind))
        raise ConfigError(f"Unknown {singular} {name!r}.{hint} Available: {available}.")
    if name in files and name in points:
        raise ConfigError(
            f"The {singular} {name!r} is part of tunelab and also declared by {points[name].value!r}; "
            f"rename the entry point in the group 'tunelab.{kind}'."
        )
    module = _module(kind, files[name]) if name in files else points[name].module
    return _final_class(_import(module, singular=singular, name=name), _contract(kind), singular=singular)


def _import(module: str, *, singular: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module missing inside tunelab is our defect and keeps its traceback.
        if error.name is None or error.name.partition(".")[0] == "tunelab":
            raise
        raise ConfigError(
            f"The {singular} {name!r} needs the Python package {error.name!r}, which is not installed: "
            "install it, or leave this entry out of the study."
        ) from error


def _contract(kind: Kind) -> type:
    # Here: listing names needs none of it and should answer at once.
    from tunelab import backend_contract, contracts, tracker_contract

    return {
        "methods": contracts.Method,
        "tasks": contracts.Task,
        "metrics": contracts.Metric,
        "backends": backend_contract.Backend,
        "trackers": tracker_contract.Tracker,
    }[kind]


def _final_class(module: ModuleType, base: type, *, singular: str) -> type:
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
    ]
    if len(found) != 1:
        got = ", ".join(member.__name__ for member in found) or "none"
        raise ConfigError(
            f"{module.__file__}: must define exactly one final subclass of {base.__name__}; got {got}. "
            f"Give each {singular} a file of its own."
        )
    return found[0]


def _files(kind: Kind) -> dict[str, Path]:
    folder = _HERE / kind
    alone = {file.stem: file for file in folder.glob("*.py")}
    in_folders = {file.parent.name: file for file in folder.glob(f"*/{kind.removesuffix('s')}.py")}
    return {name: file for name, file in (alone | in_folders).items() if not name.startswith("_")}


def _module(kind: Kind, file: Path) -> str:
    return ".".join(("tunelab", *file.relative_to(_HERE).with_suffix("").parts))


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    return _declared(entry_points, kind)


@cache
def _declared(read: Callable[..., Iterable[EntryPoint]], kind: Kind) -> dict[str, EntryPoint]:
    """Read once: what is installed stays while a process lives, and each reading opens the metadata of every package
    (30 ms, for every metric of every run)."""
    return {point.name: point for point in read(group=f"tunelab.{kind}")}


def _entry_file(point: EntryPoint) -> Path | None:
    """The source of an entry point's module. Only the top package is looked up: find_spec on a dotted name would
    import its parents."""
    top, *rest = point.module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        stem = Path(folder, *rest)
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None


def _first_line(file: Path | None) -> str:
    if file is None:
        return "(source not found)"
    try:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    except (SyntaxError, ValueError, OSError) as error:
        return f"(cannot be read: {error})".replace("\n", " ")
    return (docstring or "(no docstring)").splitlines()[0]
