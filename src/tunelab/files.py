"""Files that other processes write or read: written so that a reader sees the old text or the new one, never half of
it; and the end of a log that grows."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

LONGEST_LINE = 4096
"""Bytes of a log's line that are read."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside the file, flush to the disk, and rename over it; makes the folder when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex[:12]  # a process id is none where several hosts share the folder
    temporary = path.with_name(f".{path.name}.{unique}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def last_lines(path: Path, count: int) -> list[str]:
    """Of a log that may be long: those at its end that are not empty; none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - count * LONGEST_LINE))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()][-count:]
