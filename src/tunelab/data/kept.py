"""Small facts that follow from the code alone: made once, then looked up in the user's cache folder.

They lie in `counts/`, a JSON file for each state of tunelab's code and of the packages that it asks.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tunelab.data.cache import cache_root
from tunelab.files import write_atomically

if sys.platform != "win32":
    import fcntl

PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers")
KEPT = 8
"""Files that stay: those that were written last."""
NOTHING: Mapping[str, Any] = {}
_ROOT = Path(__file__).parents[1]


def looked_up(key: str, make: Callable[[], Any], *, shipped: Mapping[str, Any] = NOTHING) -> Any:
    """What is known by that key, here or in `shipped`; else what `make` gives, as JSON has it, which is kept. What it
    raises is raised each time."""
    file = _file()
    for table in (read_table(file), shipped):
        if key in table:
            return table[key]
    made = json.loads(json.dumps(make()))
    with suppress(OSError), _alone(file):  # made again next time
        write_atomically(file, json.dumps({**read_table(file), key: made}))
        _tidy(file.parent)
    return made


def is_known(key: str) -> bool:
    return key in read_table(_file())


def _file() -> Path:
    return cache_root() / "counts" / f"{code_state()}.json"


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time adds to what is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / ".lock").open("w") as lock:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:32]


@cache
def code_state() -> str:
    """Of tunelab's code, and of the packages that it asks."""
    state = hashlib.sha256()
    for path in sorted(_ROOT.rglob("*.py")):
        state.update(path.relative_to(_ROOT).as_posix().encode() + path.read_bytes())
    versions = [platform.python_version()]
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return digest(f"{state.hexdigest()} {versions}")


def read_table(file: Path) -> dict[str, Any]:
    """Empty where there is no such file, or nothing whole in it."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _tidy(folder: Path) -> None:
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in files[:-KEPT]:
        path.unlink(missing_ok=True)
