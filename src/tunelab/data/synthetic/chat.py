"""Conversations with an assistant: one to three questions on one topic, answered in the manner the system turn wants.

Each question's facts decide its split, so no test question was answered in training.
"""

import random
from itertools import count, islice

from tunelab.data.synthetic.chat_topics import TOPICS, Topic
from tunelab.data.synthetic.draw import check_split, generator, pick, split_of, weighted

_MANNERS = (
    (4, ("", "{full}")),
    (2, ("Answer with the bare result.", "{short}")),
    (1, ("Be polite.", "With pleasure. {full}")),
    (1, ("End every answer with a question.", "{full} Is there anything else?")),
    (1, ("Shout.", "{loud}")),
)
_FOLLOW_UPS = ("And {again}?", "What about {again}?", "Now the same for {again}, please.")


def rows(*, split: str, n: int, seed: int) -> list[dict]:
    """The first n rows {"messages": [{"role", "content"}, ...]}; a shorter request is a prefix of a longer one."""
    check_split(split)
    return [_row(generator("chat", seed, split, number), split) for number in islice(count(), n)]


def _row(rng: random.Random, split: str) -> dict:
    name = pick(rng, tuple(TOPICS))
    system, manner = weighted(rng, _MANNERS)
    messages = [{"role": "system", "content": system}] if system else []
    for turn in range(1 + int(rng.random() * 3)):
        arguments = _arguments(rng, name, split)
        messages.append({"role": "user", "content": _question(rng, TOPICS[name], arguments, first=turn == 0)})
        messages.append({"role": "assistant", "content": _answer(TOPICS[name], arguments, manner)})
    return {"messages": messages}


def _arguments(rng: random.Random, topic: str, split: str) -> tuple[str, ...]:
    while True:
        arguments = TOPICS[topic].draw(rng)
        if split_of("chat", topic, *arguments) == split:
            return arguments


def _question(rng: random.Random, topic: Topic, arguments: tuple[str, ...], *, first: bool) -> str:
    if first:
        return pick(rng, topic.questions).format(*arguments)
    return pick(rng, _FOLLOW_UPS).format(again=topic.again.format(*arguments))


def _answer(topic: Topic, arguments: tuple[str, ...], manner: str) -> str:
    short = topic.solve(*arguments)
    full = topic.answer.format(*arguments, short=short)
    return manner.format(short=short, full=full, loud=full.upper())
