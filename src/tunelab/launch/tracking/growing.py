"""The lines of a file that grows while it is read, and that may be rewound: replaced by its own beginning."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 4 * 1024 * 1024
"""That are read at a time."""


class Growing:
    """Reads on where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        """Of the file, in bytes: how much was read."""
        self._last = b""
        """The last line that was read. Where it no longer stands before `_at`, the file is another one."""

    def lines(self) -> tuple[list[str], bool]:
        """Whole lines since the last call, and whether they are the file's first ones: at the first call, and after a
        rewind, when all of them come again. No lines where there is no file; the last one is left until it ends."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._at - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self._at, self._last = 0, b""
                    file.seek(0)
                first, text = self._at == 0, file.read(MOST_BYTES)
        except (FileNotFoundError, IsADirectoryError):
            self._at, self._last = 0, b""
            return [], True
        whole = text[: text.rfind(b"\n") + 1]
        if whole:
            self._at += len(whole)
            self._last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        return whole.decode("utf-8", errors="replace").split("\n")[:-1], first

    def again(self) -> None:
        """From the first line, at the next call."""
        self._at, self._last = 0, b""
