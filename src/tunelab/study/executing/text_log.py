"""Generated texts on their way to disk: one a line as they come, so that an interrupted evaluation goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tunelab.files import write_atomically


class TextLog:
    """A file whose first line says what the texts are of. What was written for something else is forgotten, and so is
    a last line that a killed process left half written."""

    def __init__(self, path: Path, *, key: str, check: Callable[[], None] = lambda: None) -> None:
        """`key`: everything that a text depends on (model, prompts, settings). `check`: asked before every write."""
        self.path, self._check = path, check
        check()
        self.known: dict[int, str] = {}
        """The texts by their example's place in the test set."""
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        if lines and json.loads(lines[0]) == {"key": key}:
            for line in lines[1:]:
                entry = json.loads(line)
                self.known[entry["example"]] = entry["text"]
        else:
            lines = [json.dumps({"key": key}).encode()]
        write_atomically(path, b"".join(line + b"\n" for line in lines))

    def add(self, texts: Mapping[int, str]) -> None:
        self._check()
        self.known |= texts
        lines = (json.dumps({"example": example, "text": text}) + "\n" for example, text in texts.items())
        with self.path.open("a", encoding="ascii") as file:
            file.writelines(lines)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
