"""Columns that look wrong before anything is trained: empty, all the same, ids, nearly all missing, of mixed kinds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tunelab.data.reading.rows import Row

SAMPLE = 1000
"""Rows that are looked at, spread over the file: many files are sorted by their labels."""
_FEW = 5
"""Rows below which nothing is odd."""
_MISSING_SHARE = 0.9
_MOST_LABELS = 100
_LABEL_ROWS = 5
"""Times that a label comes on average, at least."""
_LABEL_WORDS, _LABEL_CHARACTERS = 4, 40
_ID_NAMES = re.compile(r"(.*[_ -])?(id|ids|idx|index|uuid|guid|key|hash)|[a-z]+Id|unnamed: 0|", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}|[0-9a-f]{32,64}", re.IGNORECASE)
_WORDS_FOR_MISSING = ("nan", "null", "none", "n/a", "na", "#n/a", "<na>")
_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
_SHOWN = 40


def spread(rows: Sequence[Row]) -> Sequence[Row]:
    """SAMPLE of the rows at most, from the first on at equal distances."""
    step = max(1, -(-len(rows) // SAMPLE))
    return rows[::step]


def odd_columns(rows: Sequence[Row], *, read: Sequence[str] = (), by_name: bool = True) -> list[str]:
    """A line for each column that a reader should look at.

    Args:
        read: columns that become prompt and target.
        by_name: whether they were told by their names: then their values are what they should be, and no ids.
    """
    some = spread(rows)
    if len(some) < _FEW:
        return []
    of = "every row" if len(some) == len(rows) else f"every one of {len(some)} rows looked at"
    lines = []
    for column in dict.fromkeys(column for row in some for column in row):
        given = [value for row in some if not is_missing(value := row.get(column))]
        said = _oddity(column, given, len(some), of=of, may_be_id=not (by_name and column in read))
        as_text = Counter(value.strip() for value in given if isinstance(value, str))
        words = {word: count for word, count in as_text.items() if word.casefold() in _WORDS_FOR_MISSING}
        if words and column in read and len(as_text) > len(words):  # a label may be called so
            shown = ", ".join(f"{word!r} {_times(count)}" for word, count in words.items())
            said.append(f"holds {shown}: text like any other, and no missing value")
        mark = " (which is read)" if column in read else ""
        lines += [f"column {column!r}{mark}: {text}" for text in said]
    return lines


def _oddity(column: str, given: list[Any], num_rows: int, *, of: str, may_be_id: bool) -> list[str]:
    """What is wrong with the values that are there; the first of these is enough."""
    if not given:
        return [f"empty in {of}"]
    kinds = Counter(_KINDS.get(type(value), type(value).__name__) for value in given)
    if len(kinds) > 1:
        return ["holds " + ", ".join(f"{kind} {_times(count)}" for kind, count in kinds.most_common())]
    missing = num_rows - len(given)
    if missing >= _MISSING_SHARE * num_rows:
        return [f"empty in {missing} of {num_rows} rows"]
    if not missing and len({str(value) for value in given}) == 1:
        return [f"the same in {of}: {_short(given[0])}"]
    if may_be_id and are_ids(given, column=column):
        return [f"looks like an id: another value in {of}, and no text"]
    return []


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def are_ids(values: Sequence[Any], *, column: str) -> bool:
    """Whether the values name their rows: all different, and counted, or random, or under a name that says so."""
    if len(values) < _FEW or any(not isinstance(value, str | int) or isinstance(value, bool) for value in values):
        return False
    texts = [str(value).strip() for value in values]
    if len(set(texts)) < len(texts) or any(" " in text for text in texts):
        return False
    if _ID_NAMES.fullmatch(column.strip()) or all(_UUID.fullmatch(text) for text in texts):
        return True
    numbers = [int(text) for text in texts if text.isascii() and text.isdigit()]
    return len(numbers) == len(texts) and numbers == sorted(numbers)


def are_labels(values: Sequence[Any]) -> bool:
    """Whether the values are one of a few short texts or whole numbers, each of which comes again and again."""
    if any(not isinstance(value, str | int) for value in values):
        return False
    texts = [str(value).strip() for value in values]
    distinct = set(texts)
    return (
        2 <= len(distinct) <= _MOST_LABELS
        and len(texts) >= _LABEL_ROWS * len(distinct)
        and all(len(text.split()) <= _LABEL_WORDS and len(text) <= _LABEL_CHARACTERS for text in distinct)
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
