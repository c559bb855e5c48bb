"""What is being done before there is anything else to show: each stage is told, as it begins, to whoever shows it.

    with stage("counting parameters: lora"):
        ...

Nobody need listen, and no number depends on it. Stages may stand in each other; the innermost is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[str], None]
"""Given the stage that has begun, or gone on to its next number; '' where none lasts any more."""

EVERY = 5_000
"""Items between two numbers that `counted` tells."""

_listeners: list[Listener] = []
_lasting: list[str] = []


@contextmanager
def stage(text: str) -> Iterator[Listener]:
    """Gives a function that tells how far it is: `say("reading train: 15,000 rows")`. Also as a decorator:
    `@stage("writing the report")`."""
    _lasting.append(text)
    _tell(text)
    try:
        yield _tell
    finally:
        _lasting.pop()
        _tell(_lasting[-1] if _lasting else "")


def counted(items: Iterable[Item], text: str) -> Iterator[Item]:
    """The items, with their number now and then: 'reading train: 15,000 rows'."""
    with stage(text) as say:
        for number, item in enumerate(items, 1):
            if number % EVERY == 0:
                say(f"{text}: {number:,} rows")
            yield item


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Until the end of the block `listener` is told, first of what lasts already."""
    _listeners.append(listener)
    try:
        if _lasting:
            listener(_lasting[-1])
        yield
    finally:
        _listeners.remove(listener)


def _tell(text: str) -> None:
    for listener in tuple(_listeners):
        listener(text)
