"""Conversations as text: the model's own chat template, turn by turn, and where the assistant's turns stand in it.

What the assistant writes, from behind its header to the end of its end-of-turn token, is learned; nothing else is. It
is found by rendering the template twice for each of its learned turns: up to its header, and with the turn. A template
that cannot be masked so (it writes earlier turns otherwise once others follow, changes texts, ends no turn) is refused.
Tool calls, reasoning, tools: chat_fields.py.

A model without a chat template gets the plain form, with the end-of-text token after each of the assistant's turns:

    User:
    What is the capital of France?

    Assistant:
    Paris.<end-of-text>

A system text stands first, under `System:`. Turns are parted by an empty line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from tunelab.data.examples.conversations import BETWEEN, HEADERS
from tunelab.data.tokens.chat_fields import (
    PLAIN,
    STYLES,
    Conversation,
    Style,
    Unmaskable,
    unwritten,
    unwritten_plainly,
)
from tunelab.data.tokens.encoded import edges
from tunelab.errors import DataError
from tunelab.records import Turn

DATE = datetime(2024, 7, 26)
"""What templates that write today's date are told: rows must not change from day to day. LLaMA 3's own default."""
TEMPLATE_FILE = "chat_template.jinja"
"""Where transformers looks for a template."""
PROBE = (Turn("user", "Which?"), Turn("assistant", "This."))


class Rendered(NamedTuple):
    """A conversation as the model reads it, up to the end of the assistant's last turn."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """Of each learned turn of the assistant: from behind its header to behind its end-of-turn token."""
    last: int
    """Where the last of them begins; the text's end where it is still to be written."""
    unused: tuple[str, ...] = ()
    """Fields of messages that do not stand in the text, one entry a message."""


class Answer(NamedTuple):
    stop: int
    """Where the end-of-turn token ends, from behind the header."""
    end: str


def plain_text(turns: Sequence[Turn], *, end: str, answer: bool) -> Rendered:
    """The plain form. `answer`: the assistant's header stands at the end, its turn is still to be written."""
    text, spans = "", []
    for turn in turns:
        text += HEADERS[turn.role]
        start, text = len(text), text + turn.text
        if turn.role == "assistant":
            text += end
            spans += [(start, len(text))] if turn.learned else []
        text += BETWEEN
    if answer:
        text += HEADERS["assistant"]
        return Rendered(text, tuple(spans), len(text))
    return Rendered(text[: len(text) - len(BETWEEN)], tuple(spans), spans[-1][0])


def plain_template(tokenizer: Any) -> str:
    """The plain form as a chat template, for the tokenizer of a model that has learned it. Renders what `plain_text`
    renders, with the start token that the tokenizer puts in front by itself: a template's text is tokenised without
    it."""
    start = "".join(tokenizer.convert_ids_to_tokens(edges(tokenizer).start))
    headers = "".join(
        f"{{% {'if' if number == 0 else 'elif'} message['role'] == '{role}' %}}{{{{ {header!r} }}}}"
        for number, (role, header) in enumerate(HEADERS.items())
    )
    refused = "{% else %}{{ raise_exception('no such role: ' + message['role']) }}{% endif %}"
    end = f"{{% if message['role'] == 'assistant' %}}{{{{ {tokenizer.eos_token!r} }}}}{{% endif %}}"
    between = f"{{% if not loop.last or add_generation_prompt %}}{{{{ {BETWEEN!r} }}}}{{% endif %}}"
    asked = f"{{% if add_generation_prompt %}}{{{{ {HEADERS['assistant']!r} }}}}{{% endif %}}"
    return (
        f"{{{{ {start!r} }}}}{{% for message in messages %}}{headers}{refused}"
        f"{{{{ message['content'] }}}}{end}{between}{{% endfor %}}{asked}"
    )


class ChatForm:
    """How one tokenizer's model wants conversations written.

    Raises:
        DataError: its chat template cannot be masked exactly; `render`: it refuses this conversation.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        self.end: str = tokenizer.eos_token
        """The end-of-turn token."""
        self._ends = [self.end]
        self._joins_system = False
        if self.has_template:
            self._probe()

    def render(self, turns: Sequence[Turn], *, name: str, given: str = "") -> Rendered:
        """A conversation that ends with the user's turn is one to be answered. `name` begins the message, `given` is
        the example's."""
        if not turns or turns[-1].role == "system":
            raise DataError(f"{name}: a conversation ends with the assistant's turn, or with the user's to be answered")
        if not self.has_template:
            unused = unwritten_plainly(turns, given, name=name)
            return plain_text(turns, end=self.end, answer=turns[-1].role != "assistant")._replace(unused=unused)
        try:
            return self._rendered(Conversation.of(_system_joined(turns) if self._joins_system else turns, given))
        except Unmaskable as problem:
            raise DataError(f"{name}: the model's chat template {problem}") from None

    def _probe(self) -> None:
        """What the end-of-turn token is, and whether a system text has a place that stays the same."""
        self._ends = sorted(
            {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}, key=lambda t: -len(t)
        )
        try:
            rendered = self._by_template(Conversation.of(PROBE), PLAIN)
        except Unmaskable as problem:
            raise DataError(
                f"the model's chat template {problem}, so what the assistant writes cannot be told from the rest; take "
                "another model, or write prompt and target instead of messages"
            ) from None
        self.end = self._answer(rendered.text[rendered.last :], PROBE[-1]).end
        self._ends = [self.end]
        system = Turn("system", "Be brief.")
        self._joins_system = any(
            self._can_write(turns) and not self._can_write((system, *turns)) for turns in (PROBE, PROBE * 2)
        )

    def _can_write(self, turns: Sequence[Turn]) -> bool:
        try:
            self._by_template(Conversation.of(turns), PLAIN)
        except Unmaskable:
            return False
        return True

    def _rendered(self, talk: Conversation) -> Rendered:
        """In the first style of its fields in which the template writes what it holds."""
        first = None
        for style in STYLES if talk.has_calls else (PLAIN,):
            try:
                rendered = self._by_template(talk, style)
                unused = unwritten(talk, style, rendered.text, self._write) if talk.has_fields else ()
                return rendered._replace(unused=unused)
            except Unmaskable as problem:
                first = first or problem
        assert first is not None
        raise first

    def _by_template(self, talk: Conversation, style: Style) -> Rendered:
        messages, turns = talk.messages(style), talk.turns
        parts, spans = [], []
        for number, turn in enumerate(turns):
            if turn.role != "assistant" or not turn.learned:
                continue
            before = self._write(talk, messages[:number], answer=True)
            whole = self._write(talk, messages[: number + 1], answer=False)
            if not whole.startswith(before):
                raise Unmaskable("puts something else in front of an answer than when it asks for one")
            stop = len(before) + self._answer(whole[len(before) :], turn).stop
            parts.append(whole[:stop])
            spans.append((len(before), stop))
        answered = turns[-1].role == "assistant"
        assert not answered or turns[-1].learned, "conversations are cut behind the last learned turn"
        text = parts[-1] if answered else self._write(talk, messages, answer=True)
        if not all(text.startswith(part) for part in parts):
            raise Unmaskable(
                "writes earlier turns otherwise once others follow, so they cannot be learned as they are read later; "
                "train_on: last learns the last turn of each conversation"
            )
        self._check_texts(text, turns)
        return Rendered(text, tuple(spans), spans[-1][0] if answered else len(text))

    def _write(self, talk: Conversation, messages: list[dict[str, Any]], *, answer: bool, **given: Any) -> str:
        """`given`: in place of the conversation's own tools and documents."""
        from jinja2.exceptions import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                messages,
                chat_template=_dated(self.tokenizer.get_chat_template()),
                tokenize=False,
                add_generation_prompt=answer,
                enable_thinking=talk.thinks,  # templates that do not know it pass it by
                **{**talk.given, **given},
            )
        except (TemplateError, TypeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Unmaskable(f"refuses the roles {_roles(messages)}: {reason}") from None

    def _answer(self, written: str, turn: Turn) -> Answer:
        """Of a written answer: the text, with blanks around it that a template may trim, and its end-of-turn token.
        A turn with more than text may have it before and behind the text."""
        text = turn.text.strip()
        begin = written.find(text) if turn.more else len(written) - len(written.lstrip())
        if begin < 0 or not written.startswith(text, begin):
            raise Unmaskable("changes what the assistant says, or asks for an answer without its header")
        rest = written[begin + len(text) :]
        if turn.more and rest.count(self.end) == 1:
            rest = rest[rest.index(self.end) :]
        end = next((token for token in self._ends if rest.lstrip().startswith(token)), None)
        if end is None:
            raise Unmaskable("ends the assistant's turn with no token of its own, so the model could not learn to stop")
        return Answer(len(written) - len(rest.lstrip()) + len(end), end)

    def _check_texts(self, text: str, turns: Sequence[Turn]) -> None:
        place = 0
        for turn in turns:
            found = [(text.find(form, place), len(form)) for form in _forms(turn)]
            place, length = next((one for one in found if one[0] >= 0), (-1, 0))
            if place < 0:
                raise Unmaskable(f"leaves out or changes what the {turn.role} says")
            place += length


def end_tokens(tokenizer: Any) -> list[int]:
    """Every token with which a text or a turn of this tokenizer's model ends."""
    ends = [tokenizer.eos_token_id]
    if getattr(tokenizer, "chat_template", None):
        try:
            ends.append(tokenizer.convert_tokens_to_ids(ChatForm(tokenizer).end))
        except DataError:
            return ends  # nothing is learned through this template, so no turn ends by it
    return sorted(set(ends))


def _forms(turn: Turn) -> list[str]:
    """How a turn's text may stand in what a template writes."""
    text = turn.text.strip()
    if turn.role == "tool":  # LLaMA 3.1 writes it as JSON
        return [text, json.dumps(turn.text, ensure_ascii=False)[1:-1]]
    if turn.role == "assistant" and not turn.learned:  # read again, an answer loses its reasoning in many templates
        return [text, text.rpartition("</think>")[2].strip()]
    return [text]


@cache
def _dated(template: str) -> str:
    """Every call for the date as the text it gives; transformers lets no function into a template."""
    return re.sub(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""", lambda call: repr(DATE.strftime(call[2])), template)


def _system_joined(turns: Sequence[Turn]) -> list[Turn]:
    """For a template without a system role: its text in front of the user's next turn."""
    joined: list[Turn] = []
    waiting: list[str] = []
    for turn in turns:
        if turn.role == "system":
            waiting.append(turn.text)
        elif turn.role == "user":
            joined.append(turn._replace(text=BETWEEN.join([*waiting, turn.text])))
            waiting = []
        elif waiting:
            raise Unmaskable("has no system role, and the system's text stands between question and answer")
        else:
            joined.append(turn)
    return joined


def _roles(messages: list[dict[str, Any]]) -> str:
    return ", ".join(message["role"] for message in messages)
