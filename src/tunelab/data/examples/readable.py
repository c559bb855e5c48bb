"""Whether a task's rows can be read, asked while a study is planned."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tunelab.contracts import Task
from tunelab.data import cache
from tunelab.data.examples.fingerprint import of_reading
from tunelab.data.examples.splits import split_validation
from tunelab.errors import DataError

FEW_ROWS = 1000
"""Of so few, all may have one prompt; then nothing can be held out for validation."""


def unreadable(task: Task, *, part: bool = False) -> list[str]:
    """`problems` of a task whose rows are on this machine: what reading each split says. That all is well is kept
    between starts (data/cache.py), so that the same rows are read for it once.

    Args:
        part: these rows are mixed with others, so they need not be enough to hold some out for validation.
    """
    try:
        key = f"readable{'-part' * part}-{of_reading(task)}"
    except DataError:
        return _problems(task, part)  # reading them says more than their fingerprint does
    if cache.find(key) is not None:
        return []
    found = _problems(task, part)
    if not found:
        with suppress(OSError):  # then they are read again next time
            cache.add(key, _nothing)
    return found


def _problems(task: Task, part: bool) -> list[str]:
    found, examples = [], {}
    for split in ("train", "validation", "test"):
        try:
            examples[split] = task.examples(split)
            if not examples[split] and split != "validation":
                found.append(f"no rows in {split}")
        except DataError as error:
            found.append(str(error))
    if not (found or part) and not examples["validation"] and len(examples["train"]) <= FEW_ROWS:
        try:
            split_validation(examples["train"])
        except DataError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def _nothing(folder: Path) -> None:
    """The entry's name says it all."""
