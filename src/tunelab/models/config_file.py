"""config.json of a model: read, looked at before anything is made of it, and what transformers says of one that is no
model's as one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunelab.config.schema import ModelSource
from tunelab.device import out_of_memory
from tunelab.errors import ModelError, TunelabError

LAYERS = (
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "n_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
SIZES = ("hidden_size", "d_model", "n_embd", "vocab_size", "num_attention_heads", "num_heads", "n_head")
MOST_LAYERS, LARGEST = 2000, 10**8
"""More than any model has; making the skeleton of far more would take hours."""
FAULTS = (
    ValueError, TypeError, KeyError, AttributeError, IndexError, AssertionError, ZeroDivisionError, RuntimeError,
    OSError, ImportError,
)  # fmt: skip
LONGEST = 300


def read_config(file: Path, *, name: str) -> dict[str, Any]:
    """
    Raises:
        ModelError: damaged, or no model's; names the file and the key.
    """
    if file.exists() and not file.is_file():  # a pipe would be read for ever
        raise ModelError(f"model '{name}': {file} is no file")
    try:
        facts = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise ModelError(f"model '{name}': {file} is no JSON; it is damaged, so get the model again") from None
    if not isinstance(facts, dict):
        raise ModelError(f"model '{name}': {file} holds {_kind(facts)}; a configuration is a mapping")
    kind = facts.get("model_type")
    if not isinstance(kind, str) or not kind:
        rule = "transformers' name of the architecture, as llama"
        raise ModelError(f"model '{name}': {file}: model_type: got {_kind(kind)}; it is {rule}")
    parts = {"": facts, "text_config.": facts.get("text_config")}
    for prefix, part in parts.items():
        if isinstance(part, Mapping) and (problem := _problem(part)):
            raise ModelError(f"model '{name}': {file}: {prefix}{problem}")
    return facts


def read_by_transformers(folder: Path, source: ModelSource) -> Any:
    """transformers' own configuration of a model folder.

    Raises:
        ModelError: it does not take the file.
    """
    from transformers import AutoConfig

    with told(f"model '{source.name}': {folder / 'config.json'}"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=source.trust_remote_code)


def _problem(facts: Mapping[str, Any]) -> str | None:
    """Lists are left to transformers: a few models have one number a layer."""
    for keys, most in ((LAYERS, MOST_LAYERS), (SIZES, LARGEST)):
        for key in (key for key in keys if facts.get(key) is not None):
            value = facts[key]
            if isinstance(value, (bool, str, float, dict)):
                return f"{key}: got {_kind(value)}; it is a whole number"
            if isinstance(value, int) and not 0 < value <= most:
                return f"{key}: got {value}; it is at least 1 and at most {most}"
    return None


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


@contextmanager
def told(of: str, *, first: Callable[[], object] = lambda: None) -> Iterator[None]:
    """What a library raises as one line that begins with `of`; `first` is called before, and may know better.

    Raises:
        ModelError: with the library's own reason.
    """
    try:
        yield
    except Exception as error:
        if not _is_fault(error):
            raise
        first()
        raise ModelError(f"{of}: {_reason(error)}") from error


def _is_fault(error: Exception) -> bool:
    """Whether a library may raise it of files that are no model's. RecursionError is a RuntimeError."""
    name = type(error).__name__  # classes of their own, which have moved between versions
    own = name == "SafetensorError" or name.startswith("StrictDataclass")
    return (own or isinstance(error, FAULTS)) and not isinstance(error, TunelabError) and not out_of_memory(error)


def _reason(error: BaseException) -> str:
    """The line that says most: transformers' checks of fields end with it, everything else begins with it."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {str(first['input'])[:40]!r}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = lines[-1] if type(error).__name__.startswith("StrictDataclass") else lines[0]
    line = f"no {line}" if isinstance(error, KeyError) else line
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
