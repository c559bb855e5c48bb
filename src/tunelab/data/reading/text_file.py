"""A text file as checked UTF-8 that is read piece by piece: never the whole of it in memory."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tunelab.data.reading.parsed_rows import BLOCK, Blocks
from tunelab.errors import DataError

_BYTE_ORDER_MARK = codecs.BOM_UTF8
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLANK = "\ufeff \t\n\r\x0b\x0c"


class WrongEncoding(DataError):
    """A text file is in another encoding than the one it was read in."""


class Line(NamedTuple):
    number: int
    """Counted from 1."""
    start: int
    end: int
    """Of its bytes in the UTF-8 text."""
    text: str
    """With its line end."""


class TextFile:
    """Another encoding and compressed files are copied once, as UTF-8, to a temporary file without a name.

    Raises:
        WrongEncoding: not that encoding. DataError: empty, with a NUL byte, or not readable.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                plain = _decompressed(file, path) if path.suffix.lower() == ".gz" else file
                if _is_utf_8(encoding):
                    _refuse_utf_16(plain, path)
                    self._file = os.fdopen(os.dup(plain.fileno()), "rb")
                else:
                    self._file = _recoded(plain, path, encoding)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"{path}: cannot be read ({reason}); check its permissions, and the space in TMPDIR"
            ) from None
        self._blocks = Blocks(self._file)
        self._check(encoding)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def span(self, start: int, end: int) -> str:
        """The text of these bytes."""
        content = self._blocks.span(start, end)
        if len(content) < end - start:
            raise DataError(f"{self.path}: became shorter while it was read; start again")
        return content.decode()

    def lines(self, *, newline: str = "\n") -> Iterator[Line]:
        """Lines cut at "\\n" alone, or, with `newline=""`, at "\\r" and "\\r\\n" too. Not str.splitlines, which also
        cuts at U+2028 inside a JSON string."""
        start = len(_BYTE_ORDER_MARK) if os.pread(self._file.fileno(), 3, 0) == _BYTE_ORDER_MARK else 0
        copy = os.fdopen(os.dup(self._file.fileno()), "rb")
        copy.seek(start)
        with io.TextIOWrapper(copy, encoding="utf-8", newline=newline) as text:
            for number, line in enumerate(text, 1):
                end = start + (len(line) if line.isascii() else len(line.encode()))
                yield Line(number, start, end, line)
                start = end

    def read(self) -> str:
        return "".join(line.text for line in self.lines())

    def _check(self, encoding: str) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        is_blank, newlines = True, 0
        self._file.seek(0)
        while True:
            block = self._file.read(BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line = newlines + 1 + error.object.count(b"\n", 0, error.start)
                raise _wrong_byte(self.path, line, error.object[error.start], encoding) from None
            if (place := block.find(b"\0")) >= 0:
                line = newlines + 1 + block.count(b"\n", 0, place)
                raise DataError(
                    f"{self.path}:{line}: contains a NUL byte, so it is not plain {encoding} text; save it as UTF-8"
                )
            is_blank = is_blank and not text.strip(_BLANK)
            newlines += block.count(b"\n")
            if not block:
                break
        if is_blank:
            raise DataError(f"{self.path}: is empty")


def _is_utf_8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def is_utf_16(path: Path) -> bool:
    """Whether the file begins with the mark of UTF-16; a compressed one does not."""
    with path.open("rb") as file:
        return file.read(2) in _UTF_16_MARKS


def _refuse_utf_16(file: BinaryIO, path: Path) -> None:
    if os.pread(file.fileno(), 2, 0) in _UTF_16_MARKS:
        raise WrongEncoding(f"{path}: is UTF-16, not UTF-8; set 'encoding: utf-16' on this task, or save it as UTF-8")


def _decompressed(file: BinaryIO, path: Path) -> BinaryIO:
    copy = tempfile.TemporaryFile()
    try:
        with gzip.GzipFile(fileobj=file) as blocks:
            while block := blocks.read(BLOCK):
                copy.write(block)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a readable gzip file ({error}); was it copied whole?") from None
    copy.flush()
    copy.seek(0)
    return copy


def _recoded(file: BinaryIO, path: Path, encoding: str) -> BinaryIO:
    decoder = codecs.getincrementaldecoder(encoding)()
    copy, newlines, block = tempfile.TemporaryFile(), 0, b"?"
    while block:
        block = file.read(BLOCK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = newlines + 1 + error.object.count(b"\n", 0, error.start)
            raise _wrong_byte(path, line, error.object[error.start], encoding) from None
        except UnicodeError as error:
            raise WrongEncoding(
                f"{path}: is not {encoding} ({error}); set 'encoding' on this task, or save it as UTF-8"
            ) from None
        newlines += text.count("\n")
        copy.write(text.encode(errors="surrogatepass"))
    copy.flush()
    return copy


def _wrong_byte(path: Path, line: int, byte: int, encoding: str) -> WrongEncoding:
    return WrongEncoding(
        f"{path}:{line}: byte 0x{byte:02x} is not {encoding}; save the file as UTF-8, or set 'encoding' on this task "
        "(spreadsheets on Windows often write cp1252)"
    )
