"""Where each value of a study came from: a line of its file, a `--set`, or a key of a dict. Every message begins with
it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tunelab.config.study_yaml import KeyPath
from tunelab.errors import one_line


@dataclass(frozen=True)
class Place:
    """One source of values."""

    label: str
    """'study.yaml:14' or '--set batch.examples=3'; of a dict's value its dotted path."""
    folder: Path
    """What relative paths given here are relative to; absolute."""
    sets: KeyPath | None = None
    """The dotted path of a `--set`; None for a line of a file."""


@dataclass
class Places:
    """Dotted path -> Place. A path without an entry of its own belongs to its nearest parent with one."""

    root: Place
    known: dict[KeyPath, Place] = field(default_factory=dict)
    literal_escapes: set[KeyPath] = field(default_factory=set)
    """Where texts hold a backslash and an n or t that no double quotes have made one character."""
    in_python: bool = False
    """The study is a dict: its values have key paths and no lines."""

    def find(self, path: KeyPath) -> Place:
        below = [place for known, place in self.known.items() if known[: len(path)] == path]
        if below and path not in self.known:  # a section that only a `--set` of one of its keys has made
            return below[0]
        while path:
            if path in self.known:
                return self.known[path]
            path = path[:-1]
        return self.known.get((), self.root)

    def replace(self, path: KeyPath, place: Place) -> None:
        """Everything at and below `path` is from `place`."""
        for old in [old for old in self.known if old[: len(path)] == path]:
            del self.known[old]
        self.literal_escapes -= {old for old in self.literal_escapes if old[: len(path)] == path}
        self.known[path] = place

    def problem(self, path: KeyPath, message: str) -> str:
        """One line: 'study.yaml:14: batch.exampels: MESSAGE' or '--set batch.exampels=3: MESSAGE'."""
        place = self.find(path)
        if not path or path == place.sets:
            return one_line(f"{place.label}: {message}")
        if self.in_python and place.sets is None:
            return one_line(f"{dotted(path)}: {message}")
        return one_line(f"{place.label}: {dotted(path)}: {message}")


def dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def split_dotted(text: str) -> KeyPath:
    """'methods.1.lora' -> ('methods', 1, 'lora'). An empty part, as of a path joined to an empty one, is nothing."""
    return tuple(int(part) if part.isdecimal() else part for part in text.split(".") if part)
