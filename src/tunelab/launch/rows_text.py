"""What `tunelab show --rows` prints: columns, and rows of which each is cut to what a screen holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tunelab.report.tables import wrapped

if TYPE_CHECKING:
    from tunelab.study.verbs.show import ShownFile

MOST_CHARACTERS = 5000
"""Of a value, and twice as many of a row."""


def file_text(name: str, shown: ShownFile, *, width: int | None = None) -> str:
    title = name if shown.num_rows is None else f"{name}: {shown.num_rows} rows"
    lines = [title, *shown.about, *(f"  {name}: {kind}" for name, kind in shown.columns.items())]
    rows = (_row_text(row) for row in shown.rows)
    return "\n".join(short for line in [*lines, *rows] for short in wrapped(line, width, indent="  "))


def _row_text(row: dict[str, Any]) -> str:
    """JSON; of a long one the beginning, and how much that is of it."""
    short = {name: _beginning(value, MOST_CHARACTERS) for name, value in row.items()}
    return _beginning(json.dumps(short, ensure_ascii=False, default=str), 2 * MOST_CHARACTERS)


def _beginning(value: Any, most: int) -> Any:
    if not isinstance(value, str) or len(value) <= most:
        return value
    return f"{value[:most]}... (the first {most:,} of {len(value):,} characters)"
