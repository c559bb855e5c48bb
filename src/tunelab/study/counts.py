"""Parameter counts that are known already, so that a plan need not import PyTorch and transformers again to count.

A count is a function of the model's configuration, the method with its options, and the code that counts. Counts that
were made on this machine are kept in the user's cache folder by all of that. Those of the bundled studies come with the
package, in counts.json (`python scripts/counts.py`): of the code these know the method's file alone, and a test makes
them anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import tunelab
from tunelab.backend_contract import Backend
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.data.cache import cache_root
from tunelab.files import write_atomically
from tunelab.models.load import local_folder, read_configuration
from tunelab.records import Limits, ParameterCount

SHIPPED = Path(__file__).with_name("counts.json")
PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers")
KEPT = 8
"""Files of counts: one for each state of the code that counted, those of the latest."""


class Counts:
    """What a back end says of a model without weights: looked up, else asked for and kept. What it raises is raised
    each time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def count(self, model: ModelSource, method: Method | None) -> ParameterCount | None:
        """As Backend.count."""
        key = self.count_key(model, method)
        if key is None:
            return self._backend.count(model, method)
        found = _looked_up(key, lambda: as_list(self._backend.count(model, method)))
        if found is None:
            return None
        trainable, total, reached, remarks = found
        return ParameterCount(trainable, total, reached, tuple(remarks))

    def limits(self, model: ModelSource) -> tuple[Limits, int | None] | None:
        """As Backend.limits."""
        key = self.limits_key(model)
        if key is None:
            return self._backend.limits(model)
        found = _looked_up(key, lambda: as_list(self._backend.limits(model)))
        return None if found is None else (Limits(*found[0]), found[1])

    def count_key(self, model: ModelSource, method: Method | None) -> str | None:
        """Of the configuration and the method; None: nothing to know it by."""
        configuration, counter = read_configuration(model), type(self._backend)
        described = [] if method is None else _described(method)
        source = "" if counter.__module__.startswith("tunelab.") else _source(counter)
        if configuration is None or source is None or described is None:
            return None
        return _hash(json.dumps([counter.__module__, source, configuration, described], sort_keys=True))

    def limits_key(self, model: ModelSource) -> str | None:
        """The same of the configuration and the tokenizer."""
        key = self.count_key(model, None)
        return None if key is None else f"limits-{key}-{_text_state(model)}"


def as_list(found: tuple[Any, ...] | None) -> list[Any] | None:
    """As JSON has it."""
    return None if found is None else json.loads(json.dumps(found))


def _looked_up(key: str, make: Callable[[], list[Any] | None]) -> list[Any] | None:
    file = cache_root() / "counts" / f"{_code_state()}.json"
    kept = _read(file)
    for table in (kept, _shipped()):
        if key in table:
            return table[key]
    made = make()
    with suppress(OSError):  # counted again next time
        write_atomically(file, json.dumps({**_read(file), key: made}))
        _tidy(file.parent)
    return made


def _described(method: Method) -> list[Any] | None:
    """The class with its source, the options, and the same of its members; None: its source is not to be found."""
    members = [_described(member) for member in method.members]
    source = _source(type(method))
    if source is None or None in members:
        return None
    cls = type(method)
    return [cls.__module__, cls.__qualname__, source, method.model_dump(mode="json"), members]


@cache
def _source(cls: type) -> str | None:
    try:
        return _hash(Path(inspect.getfile(cls)).read_bytes())
    except (TypeError, OSError):  # made at a prompt
        return None


def _text_state(model: ModelSource) -> str:
    """Of the files beside the weights, by their content where they come with the package, else by size and time."""
    folder = local_folder(model)
    files = [] if folder is None else [path for path in folder.iterdir() if path.suffix != ".safetensors"]
    own = folder is not None and folder.is_relative_to(Path(tunelab.__file__).parent)
    facts = [(path.name, path.stat().st_size, 0 if own else path.stat().st_mtime_ns) for path in sorted(files)]
    return _hash(json.dumps(facts))


@cache
def _code_state() -> str:
    """Of tunelab's code, and of the packages that it counts by."""
    root, state = Path(tunelab.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    versions = [platform.python_version()]
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return _hash(f"{state.hexdigest()} {versions}")


@cache
def _shipped() -> dict[str, Any]:
    return _read(SHIPPED)


def _read(file: Path) -> dict[str, Any]:
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


def _hash(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:32]
