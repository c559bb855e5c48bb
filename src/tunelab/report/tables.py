"""A table of text, and the same table as Markdown and as plain text for a terminal. HTML is page.html.j2."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

Tone = Literal["", "best", "bad", "quiet"]


class Cell(NamedTuple):
    """One cell. Text is as it came: every renderer escapes for itself."""

    text: str
    below: str = ""
    """A second, quieter line: an interval, a share."""
    marks: str = ""
    """Letters of the footnotes that this cell carries: 'a, b'."""
    tone: Tone = ""
    """best: as good as the best. bad: a reader should stop here."""


class Column(NamedTuple):
    title: str
    unit: str = ""
    number: bool = True
    """Numbers are set flush right."""


class Table(NamedTuple):
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    feet: tuple[str, ...] = ()
    """Lines under the table: what the marks and the type mean."""


class Part(NamedTuple):
    """A table under its own small heading."""

    heading: str
    table: Table

    @property
    def is_long(self) -> bool:
        """Folded in HTML until it is asked for."""
        return len(self.table.rows) > 24


def words(title: str) -> Column:
    """A column of text."""
    return Column(title, number=False)


def cells(*texts: str) -> tuple[Cell, ...]:
    return tuple(Cell(text) for text in texts)


def markdown(table: Table) -> str:
    """GitHub's Markdown; the second line of a cell follows in the same line."""
    heads = [escaped_markdown(column.title + (f" ({column.unit})" if column.unit else "")) for column in table.columns]
    lines = [
        *([f"**{escaped_markdown(table.caption)}**", ""] if table.caption else []),
        f"| {' | '.join(heads)} |",
        f"|{'|'.join('---:' if column.number else ':---' for column in table.columns)}|",
        *(f"| {' | '.join(map(_markdown_cell, row))} |" for row in table.rows),
    ]
    if table.feet:
        lines += ["", "<br>".join(map(escaped_markdown, table.feet))]
    return "\n".join(lines) + "\n"


def plain(table: Table) -> str:
    """Aligned columns; `*` follows what is as good as the best, footnote letters stand in brackets."""
    heads = [visible(column.title + (f" ({column.unit})" if column.unit else "")) for column in table.columns]
    rows = [[_plain_cell(cell) for cell in row] for row in table.rows]
    widths = [max(map(_width, [head, *(row[place] for row in rows)])) for place, head in enumerate(heads)]
    lines = [visible(table.caption), _plain_line(heads, widths, table), "  ".join("─" * width for width in widths)]
    lines += [_plain_line(row, widths, table) for row in rows]
    return "\n".join([*lines, *map(visible, table.feet)]) + "\n"


def visible(text: str) -> str:
    """One line without control characters: text from models and files must not steer a terminal."""
    return "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in text)


def _markdown_cell(cell: Cell) -> str:
    text = escaped_markdown(cell.text)
    if cell.tone == "best":
        text = f"**{text}**"
    if cell.marks:
        text += f" <sup>{escaped_markdown(cell.marks)}</sup>"
    return f"{text} {escaped_markdown(cell.below)}" if cell.below else text


def escaped_markdown(text: str) -> str:
    """Text as Markdown that shows it: no HTML, no link, no cell border, no line break of the text's own."""
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([|`*~$])", r"\\\1", text).replace("](", "]\\(").replace("://", ":&#47;&#47;")
    return visible(text.replace("\r\n", "\n").replace("\n", " ⏎ "))


def _plain_cell(cell: Cell) -> str:
    text = cell.text + (" *" if cell.tone == "best" else "")
    return visible(" ".join(part for part in (text, cell.below, f"[{cell.marks}]" if cell.marks else "") if part))


def _plain_line(texts: list[str], widths: list[int], table: Table) -> str:
    padded = []
    for text, width, column in zip(texts, widths, table.columns, strict=True):
        space = " " * (width - _width(text))
        padded.append(space + text if column.number else text + space)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
