"""Conversations as data sets write them (OpenAI's messages, ShareGPT's, Alpaca's columns) -> turns."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tunelab.data.examples.message_fields import message_fields, parsed_list, shown
from tunelab.errors import DataError
from tunelab.near import did_you_mean
from tunelab.records import Example, Turn

Role = Literal["system", "user", "assistant", "tool"]

HEADERS: dict[Role, str] = {
    "system": "System:\n",
    "user": "User:\n",
    "assistant": "Assistant:\n",
    "tool": "Tool:\n",
}
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
    "developer": "system",
}
"""What data sets call a role -> what a chat template calls it. Case does not count."""
ROLES_WITH_TOOLS: dict[str, Role] = {**ROLES, "tool": "tool"}

_KEYS = (("role", "content"), ("from", "value"))
"""A message's keys: OpenAI's form, ShareGPT's form."""


class Trimmed(NamedTuple):
    turns: tuple[Turn, ...]
    """System turns, then a user's turn, ..., the assistant's last learned turn; empty where no answer to a user is
    learned."""
    num_cut: int
    """Turns left out: before the first user's turn (system turns stay), and after the last learned one."""


def read_turns(
    row: Mapping[str, Any],
    column: str,
    *,
    row_name: str,
    roles: Mapping[str, Role] = ROLES,
    skip_other_roles: bool = False,
    ignore: Collection[str] = (),
) -> list[Turn]:
    """The messages in a column: a list of {role, content} or {from, value}, or one as JSON text; roles take their
    template's names.

    Args:
        row_name: begins the message, as in 'train.jsonl: row 3'.
        roles: the known ones.
        skip_other_roles: leave messages of other roles out; else they are an error.
        ignore: fields of messages that are not read.

    Raises:
        DataError: no such column, no list of messages, an unknown role, content that is not text, a field with a wrong
            value.
    """
    if column not in row:
        raise DataError(f"{row_name} has no column {column!r}.{did_you_mean(column, row)} Columns: {', '.join(row)}")
    messages = parsed_list(row[column])
    if messages is None:
        raise DataError(
            f"{row_name}: the column {column!r} must be a list of messages [{{role, content}}, ...]; "
            f"got {shown(row[column])}"
        )
    turns = []
    for number, message in enumerate(messages, 1):
        where = f"{row_name}, message {number}"
        role_key, text_key = _keys(message, where)
        role = roles.get(str(message[role_key]).casefold())
        if role is not None:
            turns.append(_turn(role, message, (role_key, text_key), ignore, where))
        elif not skip_other_roles:
            raise DataError(
                f"{where}: the role {shown(message[role_key])} is unknown; known are {', '.join(roles)}: "
                "rewrite the message, or take the row out"
            )
    return turns


def completion_turns(
    row: Mapping[str, Any], columns: Sequence[str], *, row_name: str, ignore: Collection[str]
) -> list[Turn]:
    """Messages in two columns, a prompt's and a completion's (TRL's form), of which the completion's are learned."""
    asked, answered = (
        read_turns(row, column, row_name=row_name, roles=ROLES_WITH_TOOLS, ignore=ignore) for column in columns
    )
    return [*(turn._replace(learned=turn.role != "assistant") for turn in asked), *answered]


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


def question(asked: str | Sequence[Turn], *, name: str, given: str = "") -> Example:
    """A user's text, or turns up to the user's or a tool's last, to be answered. `given`: as the example's."""
    turns = [Turn("user", asked)] if isinstance(asked, str) else list(asked)
    while turns and turns[-1].role not in ("user", "tool"):
        turns.pop()
    if not turns:
        raise DataError(f"{name}: has no turn of a user to be answered; write one")
    return Example(name, turns[-1].text, "", turns=tuple(turns), given=given)


def trim(turns: Sequence[Turn]) -> Trimmed:
    """From the first user's turn, system turns before it included, to the assistant's last that is learned.

    Nothing is learned after it, and chat templates want a user to begin.
    """
    roles = [turn.role for turn in turns]
    first = roles.index("user") if "user" in roles else len(turns)
    answers = (place for place, turn in enumerate(turns) if turn.role == "assistant" and turn.learned)
    last = max(answers, default=-1)
    if last < first:
        return Trimmed((), len(turns))
    kept = [turn for turn in turns[:first] if turn.role == "system"] + list(turns[first : last + 1])
    return Trimmed(tuple(kept), len(turns) - len(kept))


def without_empty_answers(turns: Sequence[Turn]) -> list[Turn]:
    """An assistant's turn that says nothing is read and not learned, where another of its turns follows."""
    last = max((place for place, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    return [
        turn._replace(learned=False) if turn.role == "assistant" and place < last and is_empty(turn) else turn
        for place, turn in enumerate(turns)
    ]


def system_in_front(turns: Sequence[Turn]) -> list[Turn]:
    """The same conversation without system turns: their text begins the first user's turn, an empty line between."""
    system = BETWEEN.join(turn.text for turn in turns if turn.role == "system")
    others = [turn for turn in turns if turn.role != "system"]
    for position, turn in enumerate(others):
        if system and turn.role == "user":
            others[position] = turn._replace(text=f"{system}{BETWEEN}{turn.text}")
            break
    return others


def readable(turns: Sequence[Turn]) -> str:
    """Turns as plain text for a reader: a user's only turn as it is, several under their roles."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text
    return BETWEEN.join(f"{HEADERS[turn.role]}{said(turn)}" for turn in turns)


def said(turn: Turn) -> str:
    """A turn for a reader: its text, and its tool calls as JSON."""
    calls = json.loads(turn.more).get("tool_calls", []) if turn.more else []
    return "\n".join([*([turn.text] if turn.text or not calls else []), *(json.dumps(one) for one in calls)])


def is_empty(turn: Turn) -> bool:
    """Says nothing: no text and no tool call."""
    return not said(turn).strip()


def _turn(role: Role, message: Mapping[str, Any], keys: tuple[str, str], ignore: Collection[str], where: str) -> Turn:
    fields = message_fields(message, known=keys, assistant=role == "assistant", ignore=ignore, where=where)
    calls_alone = message.get(keys[1]) is None and _has_calls(message)
    return Turn(role, "" if calls_alone else _content(message, keys[1], where), *fields)


def _keys(message: Any, where: str) -> tuple[str, str]:
    """A message with tool calls may have no text."""
    if isinstance(message, Mapping):
        for role_key, text_key in _KEYS:
            if role_key in message and (text_key in message or _has_calls(message)):
                return role_key, text_key
    keys = f"an object with the keys {', '.join(message)}" if isinstance(message, Mapping) else shown(message)
    raise DataError(f"{where}: must be an object {{role, content}} or {{from, value}}; got {keys}")


def _has_calls(message: Mapping[str, Any]) -> bool:
    """Now, or in OpenAI's first form; whether a template writes it is found out where the turn is written."""
    return bool(message.get("tool_calls") or message.get("function_call"))


def _content(message: Mapping[str, Any], key: str, where: str) -> str:
    """Text, or a list of parts {type: text, text: ...}, which are joined as they are."""
    content = message[key]
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(_part_text(part, where) for part in content)
    raise DataError(f"{where}: its {key} must be text; got {shown(content)}")


def _part_text(part: Any, where: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    kind = f"type {shown(part['type'])}" if isinstance(part, Mapping) and "type" in part else shown(part)
    raise DataError(f"{where}: its parts must be {{type: text, text: ...}}; got {kind}: only text can be learned")


def _text_column(row: Mapping[str, Any], column: str, row_name: str) -> str:
    if column not in row:
        raise DataError(f"{row_name} has no column {column!r}.{did_you_mean(column, row)} Columns: {', '.join(row)}")
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{row_name}: the column {column!r} must be text; got {shown(value)}")
    return value
