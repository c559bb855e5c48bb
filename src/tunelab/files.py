"""Writing a file so that a reader sees the old text or the new one, never half of it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


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
