"""What a verb is doing before it has anything to print, on standard error: a line at once that changes with the stage
and is gone at the end; where that is no terminal, a plain line for every stage that takes its time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from tunelab.stages import heard_by

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

PATIENCE_SECONDS = 2.0
"""Where there is no terminal: what takes less is not told, and two lines are at least so far apart."""
LOOK_SECONDS = 0.2


class AtWork:
    """What is shown: the innermost stage that lasts, else what the verb has said of itself at its beginning."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stage = ""
        self._begun = time.monotonic()
        self._line: Live | None = None
        self._asking = False

    def hear(self, stage: str) -> None:
        self._stage = stage

    def say(self, text: str) -> None:
        """In place of what the verb has said at its beginning."""
        self._text = text

    def rest(self) -> None:
        """From here on only stages are shown: something else shows the rest."""
        self._text = ""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Nothing is shown until the end of the block, which asks the user: a line that changes would write over the
        question."""
        self._asking = True
        if self._line is not None:
            self._line.stop()
        try:
            yield
        finally:
            self._asking = False
            if self._line is not None:
                self._line.start(refresh=True)

    @property
    def shown(self) -> str:
        return "" if self._asking else self._stage or self._text

    def line(self) -> Text:
        """For a terminal: '⠹ counting parameters: lora (2 of 5), 7 s'; empty: nothing."""
        from rich.text import Text

        seconds = time.monotonic() - self._begun
        turning = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(seconds * 8) % 10]
        return Text(f"{turning} {self.shown}, {seconds:.0f} s", style="dim", no_wrap=True, overflow="ellipsis")


def event_words(event: Mapping[str, Any]) -> str:
    """Of an evaluation: 'load', 'text 12 of 500, 1,234 tokens/s'."""
    if event["event"] == "generate":
        return f"text {event['done']} of {event['total']}, {event['tokens_per_second']:,.0f} tokens/s"
    return str(event.get("phase", event["event"]))


@contextmanager
def at_work(text: str, *, stream: TextIO | None = None) -> Iterator[AtWork]:
    """Until the end of the block. `stream`: left out: standard error."""
    stream, work = stream or sys.stderr, AtWork(text)
    with ExitStack() as stack:
        if stream is None:  # a program without a console
            pass
        elif stream.isatty():
            stack.enter_context(_changing_line(work, stream))
        else:
            stack.enter_context(_plain_lines(work, stream))
        stack.enter_context(heard_by(work.hear))
        yield work


@contextmanager
def _changing_line(work: AtWork, stream: TextIO) -> Iterator[None]:
    from rich.console import Console, Group
    from rich.live import Live

    def shown() -> Group:
        return Group(work.line()) if work.shown else Group()

    live = Live(console=Console(file=stream), get_renderable=shown, refresh_per_second=8, transient=True,
                redirect_stdout=False, redirect_stderr=False)  # fmt: skip
    work._line = live
    live.start(refresh=True)  # before what follows imports anything that takes long
    try:
        yield
    finally:
        live.stop()
        work._line = None


@contextmanager
def _plain_lines(work: AtWork, stream: TextIO) -> Iterator[None]:
    ended = threading.Event()

    def look() -> None:
        told, last = "", time.monotonic()
        while not ended.wait(LOOK_SECONDS):
            text, now = work.shown, time.monotonic()
            if not text:
                last = now
            elif text != told and now - last >= PATIENCE_SECONDS:
                told, last = text, now
                print(f"{text} ...", file=stream, flush=True)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
