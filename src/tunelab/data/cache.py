"""Prepared data kept between starts: a folder an entry, named by a hash of everything that can change what is in it.

Only JSON and Arrow files. Deleting any of it is always safe: it is made again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

LIMIT_BYTES = 20 * 1024**3
"""Entries used longest ago are deleted when all together are larger than this."""
ABANDONED_SECONDS = 24 * 3600
"""Half-written entries older than this are of processes that were killed."""
_MANIFEST = "files.json"
"""Sizes and checksums of an entry's other files; written last. Its time is when the entry was used last."""


def cache_folder() -> Path:
    """Prepared data."""
    return cache_root() / "data"


def cache_root() -> Path:
    """$TUNELAB_CACHE, else $XDG_CACHE_HOME/tunelab, else ~/.cache/tunelab."""
    own, shared = os.environ.get("TUNELAB_CACHE"), os.environ.get("XDG_CACHE_HOME")
    root = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "tunelab"
    return root.expanduser().absolute()


def find(key: str) -> Path | None:
    """The entry's folder when it is there, whole and undamaged."""
    folder = cache_folder() / key
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if any(_facts(folder / name) != facts for name, facts in manifest.items()):
            return None
        os.utime(folder / _MANIFEST)
    except (OSError, ValueError, AttributeError):  # ValueError: no JSON; AttributeError: JSON, but no mapping
        return None
    return folder


def add(key: str, write: Callable[[Path], None]) -> Path:
    """Have an entry's files written into an empty folder, then give it its name. Of processes that do so at the same
    time the first wins, and its entry serves all.

    Raises:
        OSError: the folder cannot be written, or is full; nothing is left behind.
    """
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        write(temporary)
        manifest = {path.name: _facts(path) for path in sorted(temporary.iterdir())}
        (temporary / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        _publish(temporary, key)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _tidy(root, keep=key)
    return root / key


def _publish(temporary: Path, key: str) -> None:
    target = temporary.parent / key
    if find(key) is not None:
        return
    if target.exists():  # damaged: moved aside first, because a folder that is not empty cannot be renamed over
        aside = Path(tempfile.mkdtemp(prefix=".old-", dir=temporary.parent))
        target.rename(aside / key)
        shutil.rmtree(aside, ignore_errors=True)
    try:
        temporary.rename(target)
    except OSError:
        if find(key) is None:
            raise


def _tidy(root: Path, *, keep: str) -> None:
    entries = []
    for folder in root.iterdir():
        try:
            if folder.name.startswith("."):
                if folder.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            size = sum(path.stat().st_size for path in folder.iterdir())
            entries.append(((folder / _MANIFEST).stat().st_mtime, size, folder))
        except OSError:  # another process is tidying, too
            continue
    total = sum(size for _, size, _ in entries)
    for _, size, folder in sorted(entries):
        if total <= LIMIT_BYTES:
            break
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _facts(path: Path) -> list[int]:
    """Size and checksum."""
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return [size, checksum]
