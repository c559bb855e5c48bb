"""What a shell completes for the command line: names and files, without torch, from one look at the disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tunelab import catalogue
from tunelab.models.configurations import EMBEDDED, known_names
from tunelab.study.planning import bundled

MOST = 200
"""Runs that are offered."""


def studies(incomplete: str) -> list[str]:
    """Bundled ones, and YAML files below what is typed."""
    return [*_begun(bundled.names(), incomplete), *_files(incomplete, (".yaml", ".yml"))]


def studies_and_results(incomplete: str) -> list[str]:
    return [*studies(incomplete), *results(incomplete)]


def studies_and_runs(incomplete: str) -> list[str]:
    return [*studies(incomplete), *runs(incomplete)]


def results(incomplete: str) -> list[str]:
    """Results folders: those of ./results, and below what is typed."""
    places = [Path("results"), Path(incomplete).parent, Path(incomplete)]
    found = [path.parent for place in places if place.is_dir() for path in place.glob("*/study.yaml")]
    return _begun(dict.fromkeys(map(str, sorted(found))), incomplete)


def models(incomplete: str) -> list[str]:
    """Runs that have finished, embedded and well-known models."""
    return [*runs(incomplete), *_begun([*EMBEDDED, *known_names()], incomplete)]


def runs(incomplete: str) -> list[str]:
    """Folders of runs that have finished."""
    folders = [*Path("results").glob("*/runs/*/result.json"), *Path(incomplete).glob("runs/*/result.json")]
    return _begun(dict.fromkeys(sorted(str(path.parent) for path in folders)[:MOST]), incomplete)


def tasks(incomplete: str) -> list[str]:
    """Names; after a study and a colon nothing, since its tasks stand in a file."""
    return _begun(catalogue.names("tasks"), incomplete)


def metrics(incomplete: str) -> list[str]:
    """The last of several with commas between them."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _begun(catalogue.names("metrics"), last)]


def sources(incomplete: str) -> list[str]:
    """Data files; named data sets are for `tunelab list tasks` to say."""
    return _files(incomplete, (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt"))


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Files with such an ending, and folders, as far as their names have begun."""
    typed = Path(incomplete).expanduser()
    folder = typed if incomplete.endswith("/") else typed.parent
    if not folder.is_dir():
        return []
    before = incomplete[: len(incomplete) - len(incomplete.rpartition("/")[2])]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in sorted(folder.iterdir())]
    fitting = [name for name in names if name.endswith(("/", *endings)) and not name.startswith(".")]
    return _begun((f"{before}{name}" for name in fitting), incomplete)
