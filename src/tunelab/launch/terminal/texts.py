"""Short texts that fit a terminal, for verbs that answer at once: imports nothing heavy."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

from tunelab.report.tables import wrapped


def terminal_columns() -> int | None:
    """Of standard output; None: it is no terminal, and nothing is wrapped."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitting(text: str) -> str:
    """Lines for standard output: whole where that is no terminal, else wrapped."""
    width = terminal_columns()
    return "\n".join(part for line in text.split("\n") for part in wrapped(line, width, indent="  "))


def tell(text: str) -> None:
    """Prints a line on standard error: whole where that is no terminal, else wrapped."""
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    print("\n".join(wrapped(text, width, indent="  ")), file=sys.stderr)


def finding_text(name: str, text: str, advice: str, *, width: int | None = None) -> str:
    """A line, and one with what is to be done."""
    space = None if width is None else max(20, width - 23)
    said = [*wrapped(text, space), *(wrapped(f"-> {advice}", space, indent="   ") if advice else [])]
    names = [name.replace("_", " "), *[""] * (len(said) - 1)]
    return "\n".join(f"{name:<22} {line}" for name, line in zip(names, said, strict=True))


def names_text(entries: Mapping[str, str], *, width: int | None = None) -> str:
    """What `tunelab list` prints: aligned, an entry a line; on a terminal over as many as it takes."""
    longest = max((len(name) for name in entries), default=0)
    if width is not None and longest > width // 2:  # what is said goes below the name
        below = {name: wrapped(f"    {said}", width) for name, said in entries.items()}
        return "\n".join("\n".join([name, *said]) for name, said in below.items())
    space = None if width is None else width - longest - 2
    lines = []
    for name, said in entries.items():
        first, *more = wrapped(said, space)
        lines += [f"{name:<{longest}}  {first}", *(" " * (longest + 2) + line for line in more)]
    return "\n".join(lines)
