"""pydantic's errors in plain words: what was got, the rule, the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from tunelab.config.places import dotted
from tunelab.config.study_yaml import KeyPath
from tunelab.errors import one_line
from tunelab.near import near

_RULES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "finite_number": "a finite number",
    "path_type": "a path",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "missing": "given",
}


class Problem(NamedTuple):
    path: KeyPath
    message: str


def explain(error: ValidationError, *, given: Any, model: type[BaseModel]) -> list[Problem]:
    """One problem a path, in the order of the model. `given` is what was validated: it tells a union's branch
    names in a location from keys, and is what messages quote.

    Works for a study (`model=StudyConfig`) as for a method's or task's own options.
    """
    grouped: dict[KeyPath, list[Any]] = {}
    for detail in error.errors(include_url=False):
        grouped.setdefault(_path_in(detail, given), []).append(detail)
    return [Problem(path, _message(path, details, given, model)) for path, details in grouped.items()]


def got(value: Any) -> str:
    """How a message shows a value: as YAML would, and short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return one_line(f"a mapping with {', '.join(map(str, value))}") if value else "an empty mapping"
    if isinstance(value, list | tuple):
        shown = one_line(f"the list [{', '.join(map(str, value))}]")
    else:
        shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _path_in(detail: Any, given: Any) -> KeyPath:
    path: KeyPath = ()
    for step in detail["loc"]:
        if isinstance(given, Mapping) and (step in given or detail["type"] == "missing"):
            given = given.get(step)
        elif isinstance(given, list | tuple) and isinstance(step, int) and step < len(given):
            given = given[step]
        else:
            break
        path = (*path, step)
    return path


def _message(path: KeyPath, details: list[Any], given: Any, model: type[BaseModel]) -> str:
    kinds = {detail["type"] for detail in details}
    if "extra_forbidden" in kinds:
        return _unknown_key(path or (details[0]["loc"][-1],), model)  # of half a character, which JSON cannot say
    if kinds == {"missing"} and details[0]["loc"] == path:
        return "required, and not given"
    own = [detail for detail in details if detail["type"] in ("value_error", "assertion_error")]
    if own:
        return str(own[0]["ctx"]["error"])
    value = _at(given, path)
    if "string_pattern_mismatch" in kinds:
        return f"{_description(path, model)} Got {got(value)}"
    for detail in details:
        if detail["type"] in ("too_short", "too_long", "missing"):
            return _length(detail, value)
    rules = list(dict.fromkeys(_rule(detail) for detail in details))
    return f"must be {' or '.join(rules)}; got {got(value)}{_way_out(value, kinds)}"


def _rule(detail: Any) -> str:
    pattern = _RULES.get(detail["type"])
    if pattern is None:
        return detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return pattern.format(**detail.get("ctx", {}))


def _length(detail: Any, value: Any) -> str:
    context = detail.get("ctx", {})
    count = len(value) if isinstance(value, list | tuple | dict | str) else 0
    if detail["type"] == "too_short":
        return f"must have at least {context['min_length']} {_entries(context['min_length'])}; got {count}"
    if detail["type"] == "too_long":
        return f"must have {context['max_length']} {_entries(context['max_length'])}; got {count}"
    return f"must have {detail['loc'][-1] + 1} entries; got {count}"


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"


def _way_out(value: Any, kinds: set[str]) -> str:
    if kinds <= {"list_type", "tuple_type"} and not isinstance(value, Mapping) and value is not None:
        return f"; write [{value}]"
    if "string_type" in kinds and isinstance(value, Mapping):
        return '; put text with braces in quotes, as in "{column}"'
    if "string_type" in kinds and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if isinstance(value, str) and not kinds.isdisjoint({"int_type", "float_type"}) and _is_number(value):
        return " (text); remove the quotes"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unknown_key(path: KeyPath, model: type[BaseModel]) -> str:
    section = _section(model, path[:-1])
    keys = list(section.model_fields)
    key = str(path[-1])
    match = near(key, keys)
    hint = f"; did you mean '{match}'?" if match else _elsewhere(key, path[:-1], model)
    return f"unknown key{hint or ';'} Keys: {', '.join(keys)}"


def _elsewhere(key: str, section: KeyPath, model: type[BaseModel]) -> str:
    """The key may be right and stand in the wrong section."""
    if key == "learning_rate" and "methods" in model.model_fields:
        return "; it is an option of each method, as in 'lora: {learning_rate: 1e-4}'."
    homes = [()] + [(name,) for name in model.model_fields if _is_section(_annotation(model, name))]
    found = [dotted((*home, key)) for home in homes if home != section and key in _section(model, home).model_fields]
    return f"; did you mean '{found[0]}'?" if found else ""


def _description(path: KeyPath, model: type[BaseModel]) -> str:
    """A pattern is unreadable; the docstring under its field says the same in words."""
    field = _section(model, path[:-1]).model_fields.get(str(path[-1]))
    return (field.description if field else None) or "not in the allowed form."


def _section(model: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    for step in path:
        annotation = _annotation(model, str(step))
        if not _is_section(annotation):
            break
        model = annotation
    return model


def _annotation(model: type[BaseModel], name: str) -> Any:
    """A field's model, also where it is optional."""
    annotation = model.model_fields[name].annotation
    return next((part for part in get_args(annotation) if _is_section(part)), annotation)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _at(value: Any, path: KeyPath) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else value[step]
    return value
