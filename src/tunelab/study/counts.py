"""Parameter counts that are known already, so that a plan need not import PyTorch and transformers again to count.

A count is a function of the model's configuration, the method with its options, and the code that counts. Counts that
were made on this machine are kept in the user's cache folder by all of that. Those of the bundled studies come with the
package, in counts.json (`python scripts/counts.py`): of the code these know the method's file alone, and a test makes
them anew.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import tunelab
from tunelab.backend_contract import Backend
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.data.kept import digest, looked_up, read_table
from tunelab.models.load import local_folder, read_configuration
from tunelab.records import Limits, ParameterCount

SHIPPED = Path(__file__).with_name("counts.json")


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
        found = looked_up(key, lambda: self._backend.count(model, method), shipped=_shipped())
        if found is None:
            return None
        trainable, total, reached, remarks = found
        return ParameterCount(trainable, total, reached, tuple(remarks))

    def limits(self, model: ModelSource) -> tuple[Limits, int | None] | None:
        """As Backend.limits."""
        key = self.limits_key(model)
        if key is None:
            return self._backend.limits(model)
        found = looked_up(key, lambda: self._backend.limits(model), shipped=_shipped())
        return None if found is None else (Limits(*found[0]), found[1])

    def count_key(self, model: ModelSource, method: Method | None) -> str | None:
        """Of the configuration and the method; None: nothing to know it by."""
        configuration, counter = read_configuration(model), type(self._backend)
        described = [] if method is None else _described(method)
        source = "" if counter.__module__.startswith("tunelab.") else _source(counter)
        if configuration is None or source is None or described is None:
            return None
        return digest(json.dumps([counter.__module__, source, configuration, described, *model.tokens], sort_keys=True))

    def limits_key(self, model: ModelSource) -> str | None:
        """The same of the configuration and the tokenizer."""
        key = self.count_key(model, None)
        return None if key is None else f"limits-{key}-{_text_state(model)}"


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
        return digest(Path(inspect.getfile(cls)).read_bytes())
    except (TypeError, OSError):  # made at a prompt
        return None


def _text_state(model: ModelSource) -> str:
    """Of the files beside the weights, by their content where they come with the package, else by size and time."""
    folder = local_folder(model)
    files = [] if folder is None else [path for path in folder.iterdir() if path.suffix != ".safetensors"]
    own = folder is not None and folder.is_relative_to(Path(tunelab.__file__).parent)
    facts = [(path.name, path.stat().st_size, 0 if own else path.stat().st_mtime_ns) for path in sorted(files)]
    return digest(json.dumps(facts))


@cache
def _shipped() -> dict[str, Any]:
    return read_table(SHIPPED)
