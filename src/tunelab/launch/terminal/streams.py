"""Standard output and error as they are: closed, full, or of an encoding that has not every character."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from typing import TextIO

PLAIN = {
    "─": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "↑": "^", "↓": "v", "×": "x", "·": "-",
    "≥": ">=", "≤": "<=", "±": "+-", "⏎": "|", "│": "|", "█": "#", "“": '"', "”": '"', "‘": "'", "’": "'",
    "\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-",
}  # fmt: skip
"""What stands for a character that the encoding has not; any other one becomes its escape, so that none is lost."""
HANDLER = "tunelab"


def prepare_streams() -> None:
    """Printing raises no UnicodeEncodeError, and there is always something to print to."""
    codecs.register_error(HANDLER, _plain)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed by who started this program
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)  # pyright: ignore[reportAttributeAccessIssue]


def leave_output() -> None:
    """Nobody takes what is printed: what is still to be written goes nowhere, so that Python does not fail over it at
    its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(each, each.encode("ascii", "backslashreplace").decode()) for each in text), error.end
