"""How every figure looks, and how it leaves: PNG for a paper, SVG for the page.

The SVG's ink is `currentColor`, so that it follows a light or a dark page; series keep their own colours
(Okabe and Ito 2008, told apart by colour-blind readers) and differ in marker and dash as well.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK = "#1b1f24"
"""Replaced by currentColor in the SVG; no series has it, only the base."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LEGEND_LINE = 0.17
"""Inches by which a figure grows for each further line of its legend, so that the axes keep their size."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = ("-", "--", "-.", ":")

STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a label is text: '$' means a dollar
    "svg.fonttype": "none",
    "svg.hashsalt": "tunelab",  # the same records give the same bytes
}


class Look(NamedTuple):
    """How one method is drawn, in every figure of a report."""

    colour: str
    marker: str
    dash: str


def looks(methods: list[str], base: str) -> dict[str, Look]:
    """A look for each method; the base is ink, dotted."""
    found, place = {}, 0
    for method in methods:
        if method == base:
            found[method] = Look(INK, "*", ":")
            continue
        found[method] = Look(
            COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], DASHES[place // len(COLOURS) % len(DASHES)]
        )
        place += 1
    return found


def styled() -> AbstractContextManager[None]:
    """Context in which figures are made and written; the user's own matplotlibrc stays out of it."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"})


def legend(figure: Figure, handles: dict[str, Any], *, columns: int) -> None:
    """Below the axes, read line by line; matplotlib itself fills column by column."""
    columns = min(columns, len(handles))
    lines = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (lines - 1))
    names = [name for first in range(columns) for name in list(handles)[first::columns]]
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=columns)


def label(text: str, longest: int = 30) -> str:
    """Cut in the middle, where labels differ least. A legend leaves out what begins with an underscore."""
    if len(text) > longest:
        text = f"{text[: longest * 2 // 3]}…{text[-longest // 3 :]}"
    return f" {text}" if text.startswith("_") else text


def png(figure: Figure) -> bytes:
    """At 220 dots per inch, on white. The layout found here is kept: the SVG shows the same figure."""
    content = _saved(figure, format="png", dpi=220, facecolor="white")
    figure.set_layout_engine("none")
    return content


def svg(figure: Figure, *, prefix: str) -> str:
    """An <svg> element to stand inside a page: no prolog, no metadata, ids of its own."""
    text = _saved(figure, format="svg", transparent=True, metadata={"Date": None}).decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\1{prefix}-", text)
    text = re.sub(re.escape(INK), "currentColor", text, flags=re.IGNORECASE)
    return re.sub(r"\n\s*\n", "\n", text).strip()


def _saved(figure: Figure, **options: Any) -> bytes:
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a label in a script that the font lacks
        figure.savefig(target, **options)
    return target.getvalue()
