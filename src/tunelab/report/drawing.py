"""How every figure looks, and how it leaves: PNG for a paper, SVG for the page.

The SVG's ink is `currentColor`, so that it follows a light or a dark page; series keep their own colours
(Okabe and Ito 2008, told apart by colour-blind readers) and differ in marker and dash as well.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tunelab.report.tables import display_width, visible

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK = "#1b1f24"
"""Replaced by currentColor in the SVG; no series has it, only the base."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LEGEND_LINE = 0.17
"""Inches by which a figure grows for each further line of its legend, so that the axes keep their size."""

TIP = "tip:"
"""Begins the gid of what has a text for whoever points at it."""
HOVER_SIZE = 13
"""Points."""

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
    label: str
    """The method's name, short enough for a legend and like no other's."""


def looks(methods: list[str], base: str) -> dict[str, Look]:
    """A look for each method; the base is ink, dotted."""
    found, place, short = {}, 0, labels(methods)
    for method in methods:
        if method == base:
            found[method] = Look(INK, "*", ":", short[method])
            continue
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
        found[method] = Look(colour, MARKERS[place % len(MARKERS)], dash, short[method])
        place += 1
    return found


def styled() -> AbstractContextManager[None]:
    """Context in which figures are made and written; the user's own matplotlibrc stays out of it."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"})


def legend(figure: Figure, handles: dict[str, Any], *, columns: int) -> None:
    """Below the axes, read line by line (matplotlib itself fills column by column), in as many columns as fit."""
    FigureCanvasAgg(figure)  # measures texts
    for number in range(min(columns, len(handles)), 0, -1):
        names = [name for first in range(number) for name in list(handles)[first::number]]
        drawn = figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=number)
        width = drawn.get_window_extent().width / figure.dpi
        if width <= figure.get_figwidth() or number == 1:
            lines = -(-len(handles) // number)
            figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (lines if lines > 2 else lines - 1))
            return
        drawn.remove()


def hover(axes: Axes, across: float, up: float, text: str) -> None:
    """An unseen spot that tells `text` when a reader of the page points at it."""
    spot: dict[str, Any] = {"marker": "o", "markersize": HOVER_SIZE, "alpha": 0, "linestyle": "none", "clip_on": False}
    axes.plot([across], [up], color=INK, gid=tip(text), zorder=9, scalex=False, scaley=False, **spot)


def tip(text: str) -> str:
    """The gid of a drawn thing whose <title> in the page is `text`."""
    return TIP + visible(text)


def labels(names: Sequence[str], longest: int = 30) -> dict[str, str]:
    """A short form of each name, no two alike: cut in the middle, where names differ least; where that makes two the
    same, what they differ in is kept; where that is not enough, they are numbered."""
    found = {name: label(name, longest) for name in names}
    for short in [short for short, number in Counter(found.values()).items() if number > 1]:
        same = [name for name in found if found[name] == short]
        alike = next((at for at, letters in enumerate(zip(*same, strict=False)) if len(set(letters)) > 1), longest)
        tail = longest - 10
        for name in same:
            found[name] = label(f"{name[:8]}…{name[max(0, alike - 2) :][:tail]}", longest)
    for short in [short for short, number in Counter(found.values()).items() if number > 1]:
        for place, name in enumerate([name for name in found if found[name] == short], start=1):
            found[name] = label(f"{place}. {name}", longest)
    return found


def label(text: str, longest: int = 30) -> str:
    """Cut in the middle. A legend leaves out what begins with an underscore."""
    text = visible(text)
    if display_width(text) > longest:
        head, tail = text, text
        while display_width(head) > longest * 2 // 3:
            head = head[:-1]
        while display_width(tail) > -(-longest // 3):
            tail = tail[1:]
        text = f"{head}…{tail}"
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
    text = re.sub(rf'<g id="{TIP}([^"]*)">', r"<g><title>\1</title>", text)
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
