"""The Java programs that two official metrics are: whether they can run here, one call, and one that stays open.

PyPI's `pycocoevalcap` (extra `meteor`) carries METEOR 1.5 and Stanford's PTB tokeniser 3.4.1, byte for byte those of
the E2E challenge script (equal git hashes). Nothing of its Python code is used.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, Thread
from typing import NamedTuple

from tunelab.errors import CannotScore

SERIAL = "-XX:+UseSerialGC"
"""The programs are short or one-threaded: the parallel collector only takes processor time from others."""

FIRST_COMPILER = "-XX:TieredStopAtLevel=1"
"""Programs of seconds end before the optimising compiler has earned its time: a quarter less on one core."""

LONG_LIVED = ("-Xms2G", "-Xmn300m", "-XX:MaxTenuringThreshold=1")
"""METEOR's paraphrases stay: copying them about while they are read takes a tenth of the time."""


class JavaProgram(NamedTuple):
    """One jar of `pycocoevalcap`, and how it is called."""

    name: str
    jar: str
    """Inside the package."""
    arguments: tuple[str, ...]
    """After `java`; {jar} stands for its path."""

    def missing(self) -> str:
        """What it lacks on this machine, with the way out; empty: nothing."""
        if shutil.which("java") is None:
            return f"{self.name} needs Java, and there is no `java` here; install it (apt install default-jre-headless)"
        if _jar(self.jar) is None:
            return f"{self.name} needs the package pycocoevalcap; pip install 'tunelab[meteor]'"
        return ""

    def command(self) -> list[str]:
        """
        Raises:
            CannotScore: Java or the jar is not here.
        """
        if reason := self.missing():
            raise CannotScore(reason)
        return [shutil.which("java") or "java", *(argument.format(jar=_jar(self.jar)) for argument in self.arguments)]

    def run(self, text: str) -> str:
        """One call: text in, text out.

        Raises:
            CannotScore: as `command`, or the program failed; with its own words.
        """
        done = subprocess.run(self.command(), input=encoded(text), capture_output=True, check=False)
        if done.returncode:
            raise CannotScore(f"{self.name} failed: {_last_line(done.stderr)}")
        return done.stdout.decode("utf-8")


TOKENISER = JavaProgram(
    "the PTB tokeniser",
    "tokenizer/stanford-corenlp-3.4.1.jar",
    (
        SERIAL,
        FIRST_COMPILER,
        "-cp",
        "{jar}",
        "edu.stanford.nlp.process.PTBTokenizer",
        "-preserveLines",
        "-lowerCase",
    ),
)
METEOR = JavaProgram(
    "METEOR",
    "meteor/meteor-1.5.jar",
    (SERIAL, FIRST_COMPILER, *LONG_LIVED, "-Xmx2G", "-jar", "{jar}", "-", "-", "-stdio", "-l", "en", "-norm"),
)


class Conversation:
    """A program that answers a line with a line, kept open: loading METEOR's paraphrases takes seconds."""

    def __init__(self, program: JavaProgram) -> None:
        self._program = program
        self._lock = Lock()
        self._errors = tempfile.TemporaryFile()
        self._process = process = subprocess.Popen(
            program.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        assert process.stdin is not None and process.stdout is not None
        self._questions, self._answers = process.stdin, process.stdout
        atexit.register(self.close)

    def ask(self, questions: Sequence[str]) -> list[str]:
        """
        Raises:
            CannotScore: the program ended; with its own words.
        """
        with self._lock:
            # Written by a thread of its own: each side's pipe is full long before all is said.
            writer = Thread(target=self._write, args=(questions,), daemon=True)
            writer.start()
            answers = [self._answers.readline() for _ in questions]
            writer.join()
        if not all(answers):
            self._errors.seek(0)
            raise CannotScore(f"{self._program.name} failed: {_last_line(self._errors.read())}")
        return [answer.decode("utf-8").strip() for answer in answers]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _write(self, questions: Sequence[str]) -> None:
        try:
            for question in questions:
                self._questions.write(encoded(f"{question}\n"))
            self._questions.flush()
        except BrokenPipeError:  # the program has ended, which the reader sees and tells
            return


def meteor() -> Conversation:
    """The one METEOR of this process."""
    return _meteor_of(os.getpid())


@cache
def _meteor_of(process_id: int) -> Conversation:
    """A forked process must not share its parent's pipes."""
    return Conversation(METEOR)


def encoded(text: str) -> bytes:
    """A half surrogate, which JSON can hold and UTF-8 cannot, becomes a question mark."""
    return text.encode("utf-8", errors="replace")


@cache
def _jar(path: str) -> Path | None:
    package = find_spec("pycocoevalcap")
    places = [] if package is None else [Path(folder) / path for folder in package.submodule_search_locations or ()]
    return next((place for place in places if place.is_file()), None)


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
