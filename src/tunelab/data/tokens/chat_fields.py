"""Fields of messages in a chat template: tool calls, reasoning, names, tools. What it has no place for is found.

A template is asked, not read: it is rendered with a field and without, and a field that changes nothing is not written.
One that is part of what is said (message_fields.SAID), and tools and documents, are then refused; others are named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tunelab.data.examples.message_fields import REASONING, SAID
from tunelab.errors import DataError
from tunelab.records import Turn


class Unmaskable(Exception):
    """What is wrong with a template, as in 'the chat template ...'."""


class Style(NamedTuple):
    """How templates want a tool call: each of these has families that know no other."""

    content: str | None
    """Of a turn without text: empty, or null: no content at all."""
    as_objects: bool
    """Arguments as objects (transformers' rule), or as JSON text (OpenAI's)."""


STYLES = tuple(Style(content, as_objects) for content in ("", None) for as_objects in (True, False))
PLAIN = STYLES[0]


class Conversation:
    """Turns, and what their row gives a chat template beside them."""

    def __init__(self, turns: Sequence[Turn], given: dict[str, Any], more: list[dict[str, Any]]) -> None:
        self.turns, self.given, self.more = turns, given, more
        self.thinks = any(REASONING[0] in fields for turn, fields in zip(turns, more, strict=True) if turn.learned)
        """A learned turn has reasoning: the template must not be asked for an answer without."""

    @classmethod
    def of(cls, turns: Sequence[Turn], given: str = "") -> Conversation:
        more = [json.loads(turn.more) if turn.more else {} for turn in turns]
        return cls(turns, json.loads(given) if given else {}, more)

    @property
    def has_fields(self) -> bool:
        return bool(self.given) or any(self.more)

    @cached_property
    def calls(self) -> list[dict[str, Any]]:
        return [call for fields in self.more for call in fields.get("tool_calls", ())]

    @property
    def has_calls(self) -> bool:
        return bool(self.calls)

    def messages(self, style: Style, *, without: str = "", at: int | None = None) -> list[dict[str, Any]]:
        """`without`: the field that is left out, of one turn or of all."""
        return [
            _message(turn, {key: value for key, value in more.items() if key != without or at not in (None, n)}, style)
            for n, (turn, more) in enumerate(zip(self.turns, self.more, strict=True))
        ]


Write = Callable[..., str]
"""(conversation, messages, answer=..., **given) to the template's text."""


def unwritten(talk: Conversation, style: Style, text: str, write: Write) -> tuple[str, ...]:
    """Fields that the template does not write, one entry a message.

    Raises:
        Unmaskable: among them is a part of what is said, or a call stands there as Python writes it.
    """
    _check_calls(talk, style, text)
    answer = talk.turns[-1].role != "assistant"
    whole = write(talk, talk.messages(style), answer=answer)

    def changes_nothing(*, without: str, at: int | None = None, **given: Any) -> bool:
        try:
            return write(talk, talk.messages(style, without=without, at=at), answer=answer, **given) == whole
        except Unmaskable:
            return False

    for name in talk.given:
        if changes_nothing(without="", **{name: None}):
            raise Unmaskable(_lost(name, f"the row's {name}"))
    unused = []
    for name in dict.fromkeys(key for fields in talk.more for key in fields):
        places = [place for place, fields in enumerate(talk.more) if name in fields]
        if not changes_nothing(without=name):
            places = [place for place in places if len(places) > 1 and changes_nothing(without=name, at=place)]
        for place in places:
            if _is_needed(name, talk.turns[place]):
                raise Unmaskable(_lost(name, f"the {name} of the {talk.turns[place].role}"))
        unused += [name] * len(places)
    return tuple(unused)


def unwritten_plainly(turns: Sequence[Turn], given: str, *, name: str) -> tuple[str, ...]:
    """Of the plain form, which has text alone. Raises DataError as `unwritten` raises Unmaskable."""
    talk = Conversation.of(turns, given)
    lost = next(_needed(talk), None)
    if lost is not None:
        raise DataError(
            f"{name}: has {lost}, and the plain form of conversations has no place for it; take a model whose chat "
            f"template writes it{'' if lost == 'a turn of a tool' else f', or leave it out: ignore_fields: [{lost}]'}"
        )
    return tuple(key for fields in talk.more for key in fields)


def _needed(talk: Conversation) -> Iterator[str]:
    for turn, fields in zip(talk.turns, talk.more, strict=True):
        if turn.role == "tool":
            yield "a turn of a tool"
        yield from (key for key in fields if _is_needed(key, turn))
    yield from talk.given


def _is_needed(name: str, turn: Turn) -> bool:
    """Templates leave the reasoning of earlier turns out, as it is done in use."""
    return name in SAID and (name != REASONING[0] or (turn.role == "assistant" and turn.learned))


def _lost(name: str, what: str) -> str:
    return (
        f"does not write {what}, so it would be lost; take a model whose chat template does, or leave it out: "
        f"ignore_fields: [{name}]"
    )


def _message(turn: Turn, more: dict[str, Any], style: Style) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.text, **more}
    if "tool_calls" in more:
        if not turn.text and style.content is None:
            del message["content"]  # transformers 5.20, the last for Python 3.10, hands a null to the template as it is
        else:
            message["content"] = turn.text or style.content
        message["tool_calls"] = [_call(call, style) for call in more["tool_calls"]]
    if REASONING[0] in more:
        message |= dict.fromkeys(REASONING, more[REASONING[0]])
    return message


def _call(call: dict[str, Any], style: Style) -> dict[str, Any]:
    function = dict(call.get("function", call))
    arguments = function.get("arguments") or {}
    if style.as_objects and isinstance(arguments, str):
        arguments = json.loads(arguments) if arguments.strip() else {}
    elif not style.as_objects and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", **{key: value for key, value in call.items() if key not in function}} | {
        "function": {**function, "arguments": arguments}
    }


def _check_calls(talk: Conversation, style: Style, text: str) -> None:
    """Names stand in the text; nothing does as Python writes it, or as JSON of JSON."""
    for call in talk.calls:
        function = _call(call, style)["function"]
        arguments, name = function["arguments"], function["name"]
        if name not in text:
            raise Unmaskable(_lost("tool_calls", f"the call of {name}"))
        as_json = json.dumps(arguments, ensure_ascii=False)
        wrong = as_json if isinstance(arguments, str) else str(arguments)
        if wrong in text and (isinstance(arguments, str) or wrong != as_json):
            raise Unmaskable(f"writes the arguments of {name} neither as an object nor as JSON: {wrong[:60]}")
