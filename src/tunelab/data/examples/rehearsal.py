"""The few rows on which a task is rehearsed: Task.rehearsal makes its smaller copy with these."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tunelab.contracts import Task

AnyTask = TypeVar("AnyTask", bound=Task)

TRAIN_ROWS = 48
SCORED_ROWS = 8
"""Of validation and of test: each test example is generated for, with the study's beams."""


def with_fewer_rows(task: AnyTask, *, train: str, scored: Iterable[str]) -> AnyTask:
    """A copy of the task with at most TRAIN_ROWS in its option `train` and SCORED_ROWS in each of the options
    `scored`; null counts as all rows."""
    most = {train: TRAIN_ROWS, **dict.fromkeys(scored, SCORED_ROWS)}
    return task.model_copy(update={name: min(number, getattr(task, name) or number) for name, number in most.items()})


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """One JSON object a line; what JSON has no type for (dates) becomes text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")
    return path
