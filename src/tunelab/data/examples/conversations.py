"""Conversations as data sets write them (OpenAI's messages, ShareGPT's, Alpaca's columns) -> turns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tunelab.errors import DataError
from tunelab.near import did_you_mean
from tunelab.records import Example, Turn

Role = Literal["system", "user", "assistant"]

HEADERS: dict[Role, str] = {"system": "System:\n", "user": "User:\n", "assistant": "Assistant:\n"}
BETWEEN = "\n\n"
"""The plain form, for readers and for models without a chat template (data/tokens/chat.py)."""

ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""What data sets call a role -> what a chat template calls it. Case does not count."""

_KEYS = (("role", "content"), ("from", "value"))
"""A message's keys: OpenAI's form, ShareGPT's form."""


class Trimmed(NamedTuple):
    turns: tuple[Turn, ...]
    """System turns, then a user's turn, ..., the assistant's last turn; empty where there is no answer to a user."""
    num_cut: int
    """Turns left out: before the first user's turn (system turns stay), and after the last assistant's."""


def read_turns(row: Mapping[str, Any], column: str, *, row_name: str, skip_other_roles: bool = False) -> list[Turn]:
    """The messages in a column: a list of {role, content} or {from, value}; roles take their template's names.

    Args:
        row_name: begins the message, as in 'train.jsonl: row 3'.
        skip_other_roles: leave messages of a tool, a function and the like out; else they are an error.

    Raises:
        DataError: no such column, no list of messages, an unknown role, or content that is not text.
    """
    if column not in row:
        raise DataError(f"{row_name} has no column {column!r}.{did_you_mean(column, row)} Columns: {', '.join(row)}")
    messages = row[column]
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise DataError(
            f"{row_name}: the column {column!r} must be a list of messages [{{role, content}}, ...]; "
            f"got {_shown(messages)}"
        )
    turns = []
    for number, message in enumerate(messages, 1):
        where = f"{row_name}, message {number}"
        role_key, text_key = _keys(message, where)
        role = ROLES.get(str(message[role_key]).casefold())
        if role is not None:
            turns.append(Turn(role, _content(message, text_key, where)))
        elif not skip_other_roles:
            raise DataError(
                f"{where}: the role {_shown(message[role_key])} is unknown; known are {', '.join(ROLES)}: "
                "rewrite the message, or take the row out"
            )
    return turns


def alpaca_turns(row: Mapping[str, Any], *, row_name: str) -> list[Turn]:
    """The columns instruction, input (may be missing or empty) and output. With an input the user says
    'INSTRUCTION\\n\\nInput: INPUT'.

    Raises:
        DataError: a column is missing, or is not text.
    """
    instruction, output = (_text_column(row, column, row_name) for column in ("instruction", "output"))
    given = _text_column(row, "input", row_name) if row.get("input") is not None else ""
    asked = f"{instruction}\n\nInput: {given}" if given.strip() else instruction
    return [Turn("user", asked), Turn("assistant", output)]


def question(given: str | Sequence[Turn], *, name: str) -> Example:
    """A user's text, or turns up to the user's last, to be answered."""
    turns = [Turn("user", given)] if isinstance(given, str) else list(given)
    while turns and turns[-1].role != "user":
        turns.pop()
    if not turns:
        raise DataError(f"{name}: has no turn of a user to be answered; write one")
    return Example(name, turns[-1].text, "", turns=tuple(turns))


def trim(turns: Sequence[Turn]) -> Trimmed:
    """From the first user's turn, system turns before it included, to the last assistant's.

    Nothing is learned after the last answer, and chat templates want a user to begin.
    """
    roles = [turn.role for turn in turns]
    first = roles.index("user") if "user" in roles else len(turns)
    last = max((position for position, role in enumerate(roles) if role == "assistant"), default=-1)
    if last < first:
        return Trimmed((), len(turns))
    kept = [turn for turn in turns[:first] if turn.role == "system"] + list(turns[first : last + 1])
    return Trimmed(tuple(kept), len(turns) - len(kept))


def system_in_front(turns: Sequence[Turn]) -> list[Turn]:
    """The same conversation without system turns: their text begins the first user's turn, an empty line between."""
    system = BETWEEN.join(turn.text for turn in turns if turn.role == "system")
    others = [turn for turn in turns if turn.role != "system"]
    for position, turn in enumerate(others):
        if system and turn.role == "user":
            others[position] = Turn("user", f"{system}{BETWEEN}{turn.text}")
            break
    return others


def readable(turns: Sequence[Turn]) -> str:
    """Turns as plain text for a reader: a user's only turn as it is, several under their roles."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text
    return BETWEEN.join(f"{HEADERS[turn.role]}{turn.text}" for turn in turns)


def _keys(message: Any, where: str) -> tuple[str, str]:
    if isinstance(message, Mapping):
        for role_key, text_key in _KEYS:
            if role_key in message and text_key in message:
                return role_key, text_key
    keys = f"an object with the keys {', '.join(message)}" if isinstance(message, Mapping) else _shown(message)
    raise DataError(f"{where}: must be an object {{role, content}} or {{from, value}}; got {keys}")


def _content(message: Mapping[str, Any], key: str, where: str) -> str:
    """Text, or a list of parts {type: text, text: ...}, which are joined as they are."""
    content = message[key]
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(_part_text(part, where) for part in content)
    raise DataError(f"{where}: its {key} must be text; got {_shown(content)}")


def _part_text(part: Any, where: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    kind = f"type {_shown(part['type'])}" if isinstance(part, Mapping) and "type" in part else _shown(part)
    raise DataError(f"{where}: its parts must be {{type: text, text: ...}}; got {kind}: only text can be learned")


def _text_column(row: Mapping[str, Any], column: str, row_name: str) -> str:
    if column not in row:
        raise DataError(f"{row_name} has no column {column!r}.{did_you_mean(column, row)} Columns: {', '.join(row)}")
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{row_name}: the column {column!r} must be text; got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """As JSON, shortened to one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
