"""Files that other processes write or read: written so that a reader sees the old text or the new one, never half of
it; the end of a log that grows; which names may become names of files; and what a system's refusal means."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
import uuid
from contextlib import suppress
from pathlib import Path

LONGEST_NAME = 100
"""Bytes of a name that becomes a file's, or a part of it: systems allow 255 for all of them together."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Devices of Windows, whatever stands behind a dot."""
WAYS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, then the same command goes on"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose another place, or change its permissions"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n)"),
    errno.EIO: "the disk may be broken",
    errno.EISDIR: "a folder stands where a file belongs; move it away",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a file stands where a folder belongs; choose another place"),
}
"""The way out of a system's refusal."""
WITHOUT_NAME = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
"""Refusals that concern a file even where they do not name it."""
LONGEST_LINE = 4096
"""Bytes of a log's line that are read."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside the file, flush to the disk, and rename over it; makes the folder when it is not there.

    Raises:
        OSError: the system refuses, by the name of the file itself.
    """
    try:
        _write_atomically(path, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_atomically(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex[:12]  # a process id is none where several hosts share the folder
    temporary = path.with_name(f".{path.name}.{unique}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def last_lines(path: Path, count: int) -> list[str]:
    """Of a log that may be long: those at its end that are not empty; none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - count * LONGEST_LINE))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()][-count:]


def share_weights(folder: Path) -> None:
    """safetensors makes its files private; they get the permissions that every other file here gets."""
    for file in folder.rglob("*.safetensors"):
        with suppress(PermissionError):  # a file system without permissions
            file.chmod(folder.stat().st_mode & 0o666)


def no_file(path: Path) -> str | None:
    """What stands there in place of a file, and might be read for ever: 'a folder', 'a pipe'; None: a file.

    Raises:
        OSError, ValueError: the system does not say.
    """
    mode = path.stat().st_mode
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK}
    kind = next((name for name, is_one in kinds.items() if is_one(mode)), "a device")
    return None if stat.S_ISREG(mode) else kind


def refusal_of(error: OSError) -> str | None:
    """One line for a file that the system will not read or write; None: of something else, as of a network."""
    if error.errno is None or isinstance(error, (ConnectionError, TimeoutError)):
        return None
    name = error.filename2 or error.filename
    if not isinstance(name, (str, os.PathLike)):
        if error.errno not in WITHOUT_NAME:
            return None
        name = "a file, or standard output"
    return f"{os.fspath(name)}: {error.strerror}; {WAYS.get(error.errno, 'choose another place')}"


def name_problem(name: str) -> str | None:
    """Why a name that somebody chose cannot become a file's name; None: it can, here and on other systems."""
    if not name.strip():
        return "got an empty name; give it one"
    if (size := len(name.encode("utf-8", errors="surrogatepass"))) > LONGEST_NAME:
        return f"got a name of {size} bytes ({name[:20]!r}...); at most {LONGEST_NAME}"
    wrong = next((each for each in name if each in '/\\:*?"<>|' or unicodedata.category(each)[0] == "C"), None)
    if wrong is not None:
        return (
            f"got the name {name!r}, and {wrong!r} cannot stand in a file's name; take letters, digits, - _ and spaces"
        )
    if name[0] in ". " or name[-1] in ". ":
        return f"got the name {name!r}; it may not begin or end with a dot or a space"
    if name.partition(".")[0].casefold() in RESERVED:
        return f"got the name {name!r}, which is a device on Windows; take another"
    return None


def file_key(name: str) -> str:
    """Equal for names that some system takes for one: without case, and however accents are written."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
