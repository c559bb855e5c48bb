"""Values by layer: the end of a module path, or a regular expression for it, as PEFT's rank_pattern. No framework."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from tunelab.errors import ConfigError

Value = TypeVar("Value")


def for_layer(patterns: Mapping[str, Value], name: str, default: Value) -> Value:
    """The value of the first pattern that matches the end of a module path from a dot on, as PEFT's rank_pattern."""
    return next((value for pattern, value in patterns.items() if _matches(pattern, name)), default)


def for_part(patterns: Mapping[str, Value], layer: str, part: str, default: Value) -> Value:
    """A pattern that matches the part (`c_attn.v`) goes before one that matches its layer."""
    return for_layer(patterns, f"{layer}.{part}", for_layer(patterns, layer, default))


def check_patterns(field: str, patterns: Iterable[str], names: Iterable[str], parts: Iterable[str] = ()) -> None:
    """
    Raises:
        ConfigError: a pattern that is no regular expression, or matches none of the adapted layers, nor their parts.
    """
    names, parts = list(names), list(parts)
    for pattern in patterns:
        try:
            found = any(_matches(pattern, name) for name in [*names, *parts])
        except re.error as error:
            raise ConfigError(f"{field}: '{pattern}' is not a regular expression ({error})") from None
        if not found:
            shown = [name.rsplit(".", 1)[-1] for name in names] + [".".join(part.split(".")[-2:]) for part in parts]
            leaves = ", ".join(dict.fromkeys(shown))
            raise ConfigError(f"{field}: '{pattern}' matches no adapted layer; there are {leaves}")


def _matches(pattern: str, name: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", name) is not None
