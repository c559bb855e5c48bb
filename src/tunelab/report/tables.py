"""A table of text, and the same table as Markdown and as plain text for a terminal. HTML is page.html.j2."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
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
    keys: int = 1
    """So many first columns name a row: where a terminal is too narrow they stand before every part of it."""


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


def plain(table: Table, *, width: int | None = None) -> str:
    """Aligned columns; `*` follows what is as good as the best, footnote letters stand in brackets.

    Args:
        width: columns of the terminal. What does not fit goes, until it does: each interval under its value, long
            names and headings over several lines, and the columns into several tables, each with the rows' names.
    """
    heads = [visible(column.title + (f" ({column.unit})" if column.unit else "")) for column in table.columns]
    rows = [[[_plain_cell(cell)] for cell in row] for row in table.rows]
    grid = [[[head] for head in heads], *rows]
    if width is not None and _needed(grid, range(len(heads))) > width:
        stacked = [[_stacked(cell) for cell in row] for row in table.rows]
        grid = _narrowed([[_wrapped_head(column) for column in table.columns], *stacked], table, width)
    parts = [range(len(heads))] if width is None else _parts(grid, table.keys, width)
    blocks = ["\n".join(_block(grid, part, table)) for part in parts]
    head = [line for line in wrapped(table.caption, width) if line]
    feet = [line for foot in table.feet for line in wrapped(foot, width)]
    return "\n".join([*head, "\n\n".join(blocks), *feet]) + "\n"


def wrapped(text: str, width: int | None, *, indent: str = "", cut: bool = False) -> list[str]:
    """One visible line as lines of at most `width` columns, later ones with `indent` before them; None: as it is.

    Args:
        cut: words too that are wider; else they are left whole, so that a path can be copied.
    """
    text = visible(text)
    if width is None or display_width(text) <= width:
        return [text]
    begin = text[: len(text) - len(text.lstrip())]
    lines, line = [], begin
    for word in text.split():
        for piece in _pieces(word, width - len(begin) - len(indent)) if cut else [word]:
            joined = f"{line} {piece}" if line.strip() else line + piece
            if line.strip() and display_width(joined) > width:
                lines.append(line)
                joined = begin + indent + piece
            line = joined
    return [*lines, line]


def visible(text: str) -> str:
    """One line without control characters: text from models and files must not steer a terminal."""
    return "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in text)


DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Marks that turn the direction in which a text is shown, and of what follows it."""


def steerless(text: str) -> str:
    """Text of several lines for a page: what steers a reader or turns the text around is a sign that it was there."""
    odd = {letter for letter in text if letter in DIRECTIONS or unicodedata.category(letter) == "Cc"} - set("\n\r\t")
    return text.translate({ord(letter): "\N{REPLACEMENT CHARACTER}" for letter in odd}) if odd else text


def no_formula(text: str) -> str:
    """Text for a cell that spreadsheets take for what it is: nothing that begins like a formula is computed."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") and not _is_number(shown) else shown


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


Grid = list[list[list[str]]]
"""Lines of every cell of every row, the heading first."""
GAP = 2
LEAST_NAME = 12
"""Columns that are left to a name, however narrow the terminal is."""


def _stacked(cell: Cell) -> list[str]:
    """The second line of a cell under the first."""
    return [_plain_cell(cell._replace(below="")), *([visible(cell.below)] if cell.below else [])]


def _wrapped_head(column: Column) -> list[str]:
    return [visible(column.title), *([f"({visible(column.unit)})"] if column.unit else [])]


def _widths(grid: Grid, part: Sequence[int]) -> list[int]:
    return [max(display_width(line) for row in grid for line in row[place]) for place in part]


def _needed(grid: Grid, part: Sequence[int]) -> int:
    return sum(_widths(grid, part)) + GAP * (len(part) - 1)


def _narrowed(grid: Grid, table: Table, width: int) -> Grid:
    """Text over several lines: the rows' names where they take more than half of the terminal, the widest first, and
    what is wider than the rest of it."""
    named = range(table.keys)
    limits = dict(zip(named, _widths(grid, named), strict=True))
    while sum(limits.values()) + GAP * len(limits) > width // 2:
        widest = max((place for place in named if not table.columns[place].number), key=lambda place: limits[place])
        if limits[widest] <= LEAST_NAME:
            break
        limits[widest] -= 1
    rest = width - sum(limits.values()) - GAP * len(limits)
    return [
        [
            lines if column.number else [
                short for line in lines for short in wrapped(line, limits.get(place, rest), cut=True)
            ]
            for place, (lines, column) in enumerate(zip(row, table.columns, strict=True))
        ]
        for row in grid
    ]  # fmt: skip


def _parts(grid: Grid, keys: int, width: int) -> list[Sequence[int]]:
    """Which columns stand in which table: those that name a row in every one, of the others as many as fit."""
    named, parts = list(range(keys)), list[list[int]]()
    for place in range(keys, len(grid[0])):
        if parts and _needed(grid, [*parts[-1], place]) <= width:
            parts[-1].append(place)
        else:
            parts.append([*named, place])
    return [*parts] or [named]


def _block(grid: Grid, part: Sequence[int], table: Table) -> list[str]:
    widths = _widths(grid, part)
    lines = []
    for number, row in enumerate(grid):
        height = max(len(row[place]) for place in part)
        for line in range(height):
            padded = []
            for place, width in zip(part, widths, strict=True):
                text = row[place][line] if line < len(row[place]) else ""
                space = " " * (width - display_width(text))
                padded.append(space + text if table.columns[place].number else text + space)
            lines.append((" " * GAP).join(padded).rstrip())
        if number == 0:
            lines.append((" " * GAP).join("─" * width for width in widths))
    return lines


def _pieces(word: str, width: int) -> list[str]:
    """A word that is wider than the terminal, cut."""
    if display_width(word) <= width:
        return [word]
    pieces, piece = [], ""
    for letter in word:
        if piece and display_width(piece + letter) > width:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]


def display_width(text: str) -> int:
    """Columns on a terminal: East Asian wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
