"""Parsed rows in a temporary file without a name: each is parsed once, and takes 8 bytes of memory."""

from __future__ import annotations

import marshal
import os
import tempfile
from array import array
from contextlib import suppress
from typing import IO, Any

BLOCK = 1 << 18
"""Bytes read at once. Rows that follow each other come out of one block."""


class Blocks:
    """A file's bytes, read a block at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._block, self._start = b"", 0

    def span(self, start: int, end: int) -> bytes:
        """These bytes; fewer where the file ends before."""
        offset = start - self._start
        if offset < 0 or end - self._start > len(self._block):
            self._block = os.pread(self._file.fileno(), max(end - start, BLOCK), start)
            self._start, offset = start, 0
        return self._block[offset : offset + end - start]


class ParsedRows:
    """What parsers give (text, numbers, None, and lists, tuples and objects of these), in the form of `marshal`: only
    this process reads the file. Where it cannot be written, rows are not kept, and have to be parsed again."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._ends = array("q", [0])
        with suppress(OSError):
            self._file = tempfile.TemporaryFile(buffering=BLOCK)

    def append(self, row: Any) -> None:
        if self._file is None:
            return
        content = marshal.dumps(row)
        try:
            self._file.write(content)
        except OSError:
            self._give_up()
        self._ends.append(self._ends[-1] + len(content))

    def finish(self) -> bool:
        """No row comes any more. Whether they are kept."""
        if self._file is not None:
            try:
                self._file.flush()
                self._blocks = Blocks(self._file)
            except OSError:
                self._give_up()
        return self._file is not None

    def __getitem__(self, position: int) -> Any:
        return marshal.loads(self._blocks.span(self._ends[position], self._ends[position + 1]))

    def __del__(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what was written last did not fit either
                file.close()
