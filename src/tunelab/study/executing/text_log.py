"""Generated texts on their way to disk: one a line as they come, so that an interrupted evaluation goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tunelab.files import write_atomically
from tunelab.study.record_files import UNREADABLE, complete_lines


class TextLog:
    """A file whose first line says what the texts are of. What was written for something else is forgotten, and so is
    a last line that a killed process left half written."""

    def __init__(self, path: Path, *, key: str, check: Callable[[], None] = lambda: None) -> None:
        """`key`: everything that a text depends on (model, prompts, settings). `check`: asked before every write."""
        self.path, self._check = path, check
        check()
        self.known: dict[int, str] = {}
        """The texts by their example's place in the test set."""
        self.notes: list[str] = []
        """What could not be read, and is generated again."""
        first, *lines = complete_lines(path) or [b""]
        head = json.dumps({"key": key}).encode()
        kept = [head]
        for number, line in enumerate(lines if first == head else [], 2):
            try:
                entry = json.loads(line)
                example, text = entry["example"], entry["text"]
                if not (isinstance(example, int) and isinstance(text, str)):
                    raise TypeError("no text of an example")
                self.known[example] = text
                kept.append(line)
            except UNREADABLE:
                self.notes.append(f"{path.name}: line {number} could not be read; its text was generated again")
        write_atomically(path, b"".join(line + b"\n" for line in kept))

    def add(self, texts: Mapping[int, str]) -> None:
        self._check()
        self.known |= texts
        lines = (json.dumps({"example": example, "text": text}) + "\n" for example, text in texts.items())
        with self.path.open("a", encoding="ascii") as file:
            file.writelines(lines)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
