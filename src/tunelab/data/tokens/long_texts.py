"""Texts of megabytes as token ids: a tokenizer takes 230 bytes of memory a character of a text that it reads at once,
so these are read in windows that overlap, and joined where both windows have the same tokens at the same places.

What a tokenizer makes of a place depends on what stands near it: on the word, on a run of blanks or digits. Where the
windows agree in several tokens on end, far from both of their edges, they agree in what follows. Where they never do,
in a text that is one word, the text is read at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

LONG = 1 << 19
"""Characters above which a text is read in windows."""
WINDOW, OVERLAP = 1 << 18, 1 << 13
"""Characters."""
AGREE = 16
"""Tokens on end in which two windows must be the same."""


class Read(NamedTuple):
    """A window's tokens."""

    ids: np.ndarray
    places: np.ndarray
    """First and last character of each in the whole text, shape (tokens, 2)."""


def ids_of_long(text: str, backend: Any, *, window: int = WINDOW, overlap: int = OVERLAP) -> array[int] | None:
    """Without tokens that the tokenizer adds by itself. None: windows do not meet, and the text has to be read at once.

    Args:
        backend: of `tokenizers`, which neither cuts nor pads.
    """

    def read(start: int) -> Read:
        found = backend.encode(text[start : start + window], add_special_tokens=False)
        return Read(np.array(found.ids, np.intc), np.array(found.offsets, np.int64).reshape(-1, 2) + start)

    ids = array("i")
    for part in _joined(read, len(text), window=window, overlap=overlap):
        if part is None:
            return None
        ids.frombytes(part.tobytes())
    return ids


def _joined(read: Callable[[int], Read], length: int, *, window: int, overlap: int) -> Iterator[np.ndarray | None]:
    """The ids of one window after the other; None and nothing more where two do not meet."""
    start, begin, now = 0, 0, read(0)
    while start + window < length:
        start += window - overlap
        following = read(start)
        met = _meeting(now, following, first=start + overlap // 4, last=start + overlap - overlap // 4)
        if met is None or met[0] < begin:
            yield None
            return
        yield now.ids[begin : met[0]]
        now, begin = following, met[1]
    yield now.ids[begin:]


def _meeting(one: Read, other: Read, *, first: int, last: int) -> tuple[int, int] | None:
    """Where in both the first tokens between these characters stand that are the same for long enough."""
    beyond = np.searchsorted(one.places[:, 0], [first, last])
    starts = other.places[:, 0]
    for mine in range(beyond[0], beyond[1] - AGREE):
        theirs = int(np.searchsorted(starts, one.places[mine, 0]))
        spans = slice(mine, mine + AGREE), slice(theirs, theirs + AGREE)
        if np.array_equal(one.places[spans[0]], other.places[spans[1]]) and np.array_equal(
            one.ids[spans[0]], other.ids[spans[1]]
        ):
            return mine, theirs
    return None
