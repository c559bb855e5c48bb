"""A PEFT config from a study's options: every name and value is checked before a model is loaded."""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from tunelab.data.kept import digest, looked_up
from tunelab.models.peft_tuners import REFUSED, tuner_names
from tunelab.near import did_you_mean

if TYPE_CHECKING:
    import peft

NOT_OPTIONS = {
    "auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision", "task_type",
}  # fmt: skip
"""Fields that PEFT or the run fills in."""


def check_type(name: str) -> str:
    """The tuner's name as PEFT writes it.

    Raises:
        ValueError: no such tuner, or one that cannot work here.
    """
    upper = name.upper()
    if upper in REFUSED:
        raise ValueError(f"type: PEFT's {upper} {REFUSED[upper]}; there are {', '.join(tuner_names())}")
    if upper not in tuner_names():
        hint = did_you_mean(upper, tuner_names())
        raise ValueError(f"type: the installed PEFT has no tuner {name!r}.{hint} It has {', '.join(tuner_names())}")
    return upper


def check(name: str, options: dict[str, Any], *, config: Callable[[str, dict[str, Any]], dict[str, Any]]) -> str:
    """Its type as PEFT writes it, the options checked; what was found right before is, without importing PEFT.

    Args:
        config: what is asked of the config beside them, where that is more.

    Raises:
        ValueError: as `check_type`, `check_options`, `make_config`.
    """
    name = check_type(name)

    def checked() -> bool:
        check_options(name, options)
        make_config(name, config(name, options))
        return True

    try:
        key = digest(json.dumps(["peft", name, options], sort_keys=True))
    except TypeError:  # given in Python, and nothing that a file could say
        checked()
    else:
        looked_up(key, checked)
    return name


def options_of(name: str) -> dict[str, dataclasses.Field]:
    """What a study may say of this tuner: its config's fields by name."""
    return {field.name: field for field in dataclasses.fields(_config_class(name)) if field.name not in NOT_OPTIONS}


def check_options(name: str, options: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: an unknown name (with the nearest one), or a value not of the field's type.
    """
    known, cls = options_of(name), _config_class(name)
    hints = get_type_hints(cls)
    for key, value in options.items():
        if key not in known:
            hint, cls_name = did_you_mean(key, known), cls.__name__
            raise ValueError(f"unknown key '{key}' for PEFT's {cls_name}.{hint} Keys: {', '.join(known)}")
        try:
            adapter = TypeAdapter(hints[key])
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
            continue  # a type of PEFT's own; its config checks it
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            rule = error.errors(include_url=False)[0]["msg"].removeprefix("Input should be ")
            raise ValueError(f"{key}: must be {rule}; got {value!r}") from None


def make_config(name: str, options: dict[str, Any]) -> peft.PeftConfig:
    """
    Raises:
        ValueError: what the config itself says against these values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about options that PEFT then sets by itself
        try:
            return _config_class(name)(**options)
        except (TypeError, AssertionError, ImportError) as error:
            raise ValueError(str(error).strip().splitlines()[0]) from error


def changed_options(name: str, saved: dict[str, Any]) -> dict[str, Any]:
    """Of a saved config, what differs from the tuner's defaults and is still a field of it."""
    changed = {}
    for key, field in options_of(name).items():
        default = field.default_factory() if callable(field.default_factory) else field.default
        if key in saved and saved[key] != default:
            changed[key] = saved[key]
    return changed


def has_option(name: str, option: str) -> bool:
    return option in inspect.signature(_config_class(name)).parameters


def _config_class(name: str) -> type[peft.PeftConfig]:
    from tunelab.models.bitsandbytes_import import import_bitsandbytes

    import_bitsandbytes()
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)]
