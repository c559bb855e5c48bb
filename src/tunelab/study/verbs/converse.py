"""A conversation with a chat model, turn by turn: all that was said before is read again with each message."""

from __future__ import annotations

from collections.abc import Callable

from tunelab.data.examples.conversations import question
from tunelab.records import Turn
from tunelab.study.verbs.generate import Speaker


def converse(
    speaker: Speaker, *, system: str | None = None, read: Callable[[], str], write: Callable[[str], None]
) -> None:
    """Ends with an empty message, or where `read` raises EOFError.

    Args:
        read: the user's next message.
        write: told the answer.

    Raises:
        ConfigError: the model knows no conversations. RunError: the conversation has grown too long for the model.
    """
    turns = [] if system is None else [Turn("system", system)]
    number = 0
    while True:
        try:
            message = read()
        except EOFError:
            return
        if not message.strip():
            return
        turns.append(Turn("user", message))
        number += 1
        (answer,) = speaker.answers([question(turns, name=f"message {number}")], draw=number - 1)
        write(answer)
        turns.append(Turn("assistant", answer, learned=False))
