"""What a message and its row hold beside role and text: weights, tool calls, reasoning, names; tools and documents."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from tunelab.errors import DataError

SAID = ("tool_calls", "function_call", "reasoning_content", "refusal", "audio", "images", "videos")
"""Fields that are part of what is said: a model never learns a turn without them. Others are counted where a chat
template has no use for them."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Names of one field; transformers gives its text to a template under each of them."""
GIVEN = ("tools", "documents")
"""Columns that a chat template is given beside the messages."""
LEARNED = ("weight", "train", "training")
"""Fields by which data sets say whether an assistant's turn is learned: OpenAI's, and Axolotl's two."""


class Fields(NamedTuple):
    learned: bool
    more: str
    """As JSON; empty: nothing."""


def message_fields(
    message: Mapping[str, Any], *, known: Collection[str], assistant: bool, ignore: Collection[str], where: str
) -> Fields:
    """Of what is not in `known` and not to be ignored; null and empty values are none.

    Raises:
        DataError: a weight that is not 0 or 1, two texts of reasoning, calls that are no list of calls.
    """
    kept = {key: value for key, value in message.items() if key not in known and _is_there(value)}
    kept = {key: value for key, value in kept.items() if key not in ignore}
    learned = True
    for name in LEARNED:
        if name in kept and assistant:
            learned = _learned(name, kept.pop(name), where) and learned
        elif name in kept and not kept[name]:
            del kept[name]  # what others say is never learned
    _one_reasoning(kept, where)
    if "tool_calls" in kept:
        kept["tool_calls"] = _calls(kept["tool_calls"], where)
    return Fields(learned, _as_json(kept))


def given_fields(row: Mapping[str, Any], *, ignore: Collection[str], row_name: str) -> str:
    """The row's tools and documents as JSON; empty: none. Each is a list of objects, or one as JSON text.

    Raises:
        DataError: another value.
    """
    given = {}
    for name in GIVEN:
        value = row.get(name)
        if name in ignore or not _is_there(value):
            continue
        listed = parsed_list(value)
        if listed is None or not all(isinstance(entry, Mapping) for entry in listed):
            raise DataError(
                f"{row_name}: the column {name!r} must be a list of objects, or one as JSON text; got {shown(value)}; "
                f"ignore_fields: [{name}] leaves it out"
            )
        if listed:
            given[name] = listed
    return _as_json(given)


def parsed_list(value: Any) -> list[Any] | None:
    """A list, or the list that a text is as JSON; None: neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else None


def shown(value: Any) -> str:
    """As JSON, shortened to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_there(value: Any) -> bool:
    return value is not None and value not in ("", [], {}, ())


def _learned(name: str, value: Any, where: str) -> bool:
    if value in (0, 1) and (name == "weight" or isinstance(value, bool)):
        return bool(value)
    rule = "must be 0 (read, not learned) or 1 (learned)" if name == "weight" else "must be true or false"
    raise DataError(f"{where}: its {name} {rule}; got {shown(value)}")


def _one_reasoning(kept: dict[str, Any], where: str) -> None:
    found = {name: kept.pop(name) for name in REASONING if name in kept}
    if not found:
        return
    text = next(iter(found.values()))
    if not isinstance(text, str):
        raise DataError(f"{where}: its {next(iter(found))} must be text; got {shown(text)}")
    if any(other != text for other in found.values()):
        raise DataError(f"{where}: its {' and '.join(found)} are names of one field and differ; keep one")
    kept[REASONING[0]] = text


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Checked, and as they stand in the file."""
    calls = parsed_list(value)
    rule = "its tool_calls must be a list of {type: function, function: {name, arguments}}"
    if calls is None:
        raise DataError(f"{where}: {rule}; got {shown(value)}")
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DataError(f"{where}: {rule}; got {shown(call)}")
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments.strip():
            try:
                arguments = json.loads(arguments)
            except json.JSONDecodeError:
                raise DataError(f"{where}: its call's arguments are not valid JSON: {shown(arguments)}") from None
        if not (arguments in (None, "") or isinstance(arguments, Mapping)):
            raise DataError(f"{where}: its call's arguments must be an object; got {shown(arguments)}")
    return calls


def _as_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, default=str) if fields else ""
