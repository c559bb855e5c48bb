"""Regular expressions that a study gives for module paths, and values by them, as PEFT's rank_pattern. No framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TypeVar

import regex

from tunelab.errors import ConfigError

Value = TypeVar("Value")
MOST_SECONDS = 1.0
"""For one name: nested repetitions can try for longer than anybody waits."""


@cache
def matcher(field: str, pattern: str, *, shown: str | None = None) -> Callable[[str], bool]:
    """Whether a whole name matches.

    Args:
        field: of the study, which messages begin with; `shown`: the pattern as it stands there.

    Raises:
        ConfigError: it is no regular expression; from what is returned: it takes too long.
    """
    given = pattern if shown is None else shown
    try:
        rule = regex.compile(pattern)
    except (regex.error, RecursionError) as error:
        raise ConfigError(f"{field}: '{given}' is not a regular expression ({error})") from None

    def matches(name: str) -> bool:
        try:
            return rule.fullmatch(name, timeout=MOST_SECONDS) is not None
        except TimeoutError:
            way = "write it without a repetition inside a repetition"
            raise ConfigError(f"{field}: '{given}' takes longer than {MOST_SECONDS:g} s on '{name}'; {way}") from None

    return matches


def for_layer(patterns: Mapping[str, Value], name: str, default: Value) -> Value:
    """The value of the first pattern that matches the end of a module path from a dot on, as PEFT's rank_pattern."""
    return next((value for pattern, value in patterns.items() if _at_end("ranks, alphas", pattern)(name)), default)


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
        if not any(map(_at_end(field, pattern), [*names, *parts])):
            shown = [name.rsplit(".", 1)[-1] for name in names] + [".".join(part.split(".")[-2:]) for part in parts]
            leaves = ", ".join(dict.fromkeys(shown))
            raise ConfigError(f"{field}: '{pattern}' matches no adapted layer; there are {leaves}")


def _at_end(field: str, pattern: str) -> Callable[[str], bool]:
    return matcher(field, rf"(.*\.)?({pattern})", shown=pattern)
