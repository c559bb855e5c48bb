"""What a search tries: the rungs of `learning_rate: auto`, the same for every method around its documented rate, and
combinations of the lists in a method's fields."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError

from tunelab.contracts import Method
from tunelab.study.planning.planned import Candidate

AUTO: Literal["auto"] = "auto"
RUNGS = (0, -1, 1)
"""Half decades from the documented rate, which is tried first. The first and the last of these are edges."""


def rung(middle: float, number: int) -> float:
    """The rate `number` half decades above `middle`, about 0.3, 1 and 3 times it: rounded to as few digits as stay
    within a tenth, so that it can be copied. 1e-4 has 3e-5 below it and 3e-4 above."""
    exact = middle * 10.0 ** (number / 2)
    if number % 2 == 0:
        return float(f"{exact:.12g}")
    rounded = (float(f"{exact:.{digits}e}") for digits in range(12))
    return next(rate for rate in rounded if abs(rate / exact - 1) <= 0.1)


def at_rung(method: Method, number: int) -> float:
    return rung(method.documented_rate, number)


def candidates_of(
    built: Callable[[Mapping[str, Any]], Method], grid: Sequence[dict[str, Any]], *, auto: bool
) -> list[Candidate]:
    """Of each combination. The rungs of `auto` are those around the rate that the other fields of it ask for."""
    found = []
    for combination in grid:
        setting = {key: value for key, value in combination.items() if key != "learning_rate"}
        rate, number = combination["learning_rate"], None
        if auto:
            rate, number = at_rung(built(setting), rate), rate
        found.append(Candidate(built(setting | {"learning_rate": rate}), number, setting))
    return found


def lists_of(cls: type[Method], options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Fields with a list of values: one that the field does not take as it is, though it takes something in it. What
    `parts` holds are methods, and `learning_rate` has rules of its own."""
    given = {name: value for name, value in options.items() if isinstance(value, list)}
    return {
        name: values
        for name, values in given.items()
        if name not in ("learning_rate", "parts")
        and not _takes(cls, name, values, options)
        and any(_takes(cls, name, value, options) for value in values)
    }


def chosen(fields: Mapping[str, Sequence[Any]], *, most: int | None) -> list[dict[str, Any]]:
    """Combinations of the fields' values, in the order of the study: all of them, or `most`. Then the next one is that
    whose values have been used least so far (counts added up; of equal ones the first), so that they come about equally
    often."""
    grid = [dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())]
    if most is None or len(grid) <= most:
        return grid
    used: Counter[tuple[str, str]] = Counter()
    found: list[dict[str, Any]] = []
    for _ in range(most):
        following = min(grid, key=lambda setting: sum(used[key] for key in _keys(setting)))
        grid.remove(following)
        found.append(following)
        used.update(_keys(following))
    return found


def _keys(setting: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, json.dumps(value, default=str)) for name, value in setting.items()]


def _takes(cls: type[Method], name: str, value: Any, options: Mapping[str, Any]) -> bool:
    """Whether a field takes a value. One that is not declared (a PEFT config's own) is tried beside those that are."""
    try:
        if name in cls.model_fields:
            field = cls.model_fields[name]
            kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            TypeAdapter(kind).validate_json(json.dumps(value, default=str), strict=True)
        elif cls.model_config.get("extra") == "allow":
            declared = {key: option for key, option in options.items() if key in cls.model_fields}
            cls.model_validate_json(json.dumps(declared | {name: value}, default=str), strict=True)
        else:
            return True  # an unknown key, which the method itself will say
        return True
    except ValidationError:
        return False
