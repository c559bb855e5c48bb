"""Tables and text as HTML for a notebook's cell: all escaped, every style inline, readable on light and dark."""

from __future__ import annotations

import base64
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from tunelab.report.tables import Cell, Column, Table

_TABLE = "border-collapse:collapse;margin:0.5em 0"
_CAPTION = "caption-side:top;text-align:left;font-weight:bold;padding:0.2em 0.6em"
_LINE = "border-bottom:1px solid rgba(128,128,128,0.35);padding:0.25em 0.6em;vertical-align:top"
_QUIET = "opacity:0.75;font-size:0.9em"
_MARKED = "background:rgba(46,160,67,0.3);color:inherit;text-decoration:underline"
_WORDS = "white-space:pre-wrap;overflow-wrap:break-word;min-width:6em;max-width:32em"
_WIDE = "overflow-x:auto;max-width:100%"


def table_html(table: Table) -> str:
    """Columns of text flush left and wrapped, numbers flush right; what is as good as the best is bold."""
    heads = "".join(
        f'<th style="{_LINE};text-align:{_side(column)}">{escape(column.title + _unit(column))}</th>'
        for column in table.columns
    )
    rows = "".join(
        "<tr>" + "".join(map(_cell_html, row, table.columns)) + "</tr>"
        for row in table.rows
    )  # fmt: skip
    caption = f'<caption style="{_CAPTION}">{escape(table.caption)}</caption>' if table.caption else ""
    body = f'<table style="{_TABLE}">{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    feet = "".join(f'<div style="{_QUIET}">{escape(foot)}</div>' for foot in table.feet)
    return f'<div style="{_WIDE}">{body}</div>{feet}'


def paragraph_html(text: str) -> str:
    return f'<p style="max-width:60em">{escape(text)}</p>'


def preformatted_html(text: str) -> str:
    return f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'


def marked_html(pieces: list[tuple[str, bool]]) -> str:
    """Text in which some stretches are marked: coloured, and underlined for whoever sees no colour."""
    stretches = [
        ("".join(text for text, _ in group), marked) for marked, group in groupby(pieces, key=itemgetter(1))
    ]  # fmt: skip
    shown = "".join(f'<mark style="{_MARKED}">{escape(text)}</mark>' if marked else escape(text)
                    for text, marked in stretches)  # fmt: skip
    return f'<pre style="white-space:pre-wrap">{shown}</pre>'


def figure_html(png: Path) -> str:
    """The picture itself, so that a notebook that is sent on still has it."""
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(png.stem)}" style="max-width:100%;background:white">'


def page_html(page: Path, *, height: int = 800) -> str:
    """A whole page in a frame of its own: its style stays inside, and it reaches nothing of the notebook."""
    text = escape(page.read_text(encoding="utf-8"))
    style = "width:100%;border:1px solid rgba(128,128,128,0.35);background:white"
    return f'<iframe sandbox="allow-scripts" srcdoc="{text}" height="{height}" style="{style}"></iframe>'


def _cell_html(cell: Cell, column: Column) -> str:
    text = escape(cell.text)
    if cell.tone == "best":
        text = f"<b>{text}</b>"
    if cell.marks:
        text += f"<sup>{escape(cell.marks)}</sup>"
    if cell.below:
        text += f'<div style="{_QUIET}">{escape(cell.below)}</div>'
    wrapped = "white-space:nowrap" if column.number else _WORDS
    return f'<td style="{_LINE};text-align:{_side(column)};{wrapped}">{text}</td>'


def _side(column: Column) -> str:
    return "right" if column.number else "left"


def _unit(column: Column) -> str:
    return f" ({column.unit})" if column.unit else ""
