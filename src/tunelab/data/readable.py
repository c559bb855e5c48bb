"""Whether a task's rows can be read, asked while a study is planned."""

from __future__ import annotations

from tunelab.contracts import Task
from tunelab.errors import DataError


def unreadable(task: Task) -> list[str]:
    """`problems` of a task whose rows are on this machine: what reading each split says."""
    found = []
    for split in ("train", "validation", "test"):
        try:
            if not task.examples(split) and split != "validation":
                found.append(f"no rows in {split}")
        except DataError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))
