"""Loss, perplexity and milliseconds a step of two back ends: a figure each, a panel a method, a line a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from tunelab.report.alignment.pairs import Pair, trained_of
from tunelab.report.alignment.steps import perplexity, steps_of
from tunelab.report.curves import MOST_POINTS
from tunelab.report.drawing import COLOURS, label, labels, legend, png, styled, svg, tip
from tunelab.report.plots import Plot
from tunelab.report.reading import RunRecords

COLUMNS = 3
PANEL = (2.3, 1.9)
"""Inches."""

Series = Callable[[RunRecords], np.ndarray]
"""N x 2: step and value."""


class Kind(NamedTuple):
    """One of the figures."""

    name: str
    title: str
    unit: str
    lines: Series
    points: Series | None = None
    is_log: bool = False


class Stroke(NamedTuple):
    """How a back end is drawn; the first one wide and pale below the other, so that equal curves are both seen."""

    colour: str
    width: float
    alpha: float
    dash: Literal["-", "--"]
    marker: str


STROKES = (Stroke(COLOURS[0], 2.4, 0.6, "-", "o"), Stroke(COLOURS[1], 0.9, 1.0, "--", "x"))


def figures(pairs: Sequence[Pair], names: tuple[str, str], *, title: str, slug: str) -> tuple[Plot, ...]:
    """What has no data has no figure."""
    panels = dict(trained_of(pairs))
    found = []
    with styled():
        for kind in KINDS:
            figure = _figure(kind, panels, names)
            if figure is not None:
                name = f"{slug}_{kind.name}"
                drawing = svg(figure, prefix=name.replace(".", "-"))
                found.append(Plot(f"{name}.png", f"{kind.title}, {title}", png(figure), drawing, True))
    return tuple(found)


def _figure(kind: Kind, panels: dict[str, list[Pair]], names: tuple[str, str]) -> Figure | None:
    panels = {method: pairs for method, pairs in panels.items() if any(len(kind.lines(run)) for run in pairs[0])}
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    # Always as wide as the page's other wide figures, so that letters are of one size.
    figure = Figure(figsize=(COLUMNS * PANEL[0], lines * PANEL[1] + 0.5), layout="constrained")
    every = list(figure.subplots(lines, columns, squeeze=False).flat)
    short = labels(list(panels), 18)
    for axes, (method, pairs) in zip(every, panels.items(), strict=False):
        _panel(axes, kind, pairs)
        several = f", {len(pairs)} runs" if len(pairs) > 1 else ""
        axes.set_title(short[method] + several)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    for axes in every[::columns]:
        axes.set_ylabel(kind.unit)
    for axes in every[: len(panels)][-columns:]:
        axes.set_xlabel("optimizer step")
    handles = {
        label(name): Line2D([], [], color=stroke.colour, linewidth=stroke.width, alpha=stroke.alpha,
                            linestyle=stroke.dash, marker=stroke.marker if kind.points else "", markersize=3.5)
        for name, stroke in zip(names, STROKES, strict=True)
    }  # fmt: skip
    legend(figure, handles, columns=2)
    return figure


def _panel(axes: Axes, kind: Kind, pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        for run, stroke in zip(pair, STROKES, strict=True):
            looks = {"color": stroke.colour, "alpha": stroke.alpha}
            line = kind.lines(run)
            (drawn,) = axes.plot(line[:, 0], line[:, 1], linewidth=stroke.width, linestyle=stroke.dash, **looks)
            if len(line):
                end = f"{line[-1, 1]:.5g} {kind.unit} at step {line[-1, 0]:.0f}"
                drawn.set_gid(tip(f"{pair.method} on {run.entry.backend}, seed {pair.seed}: {end}"))
            if kind.points is not None:
                point = kind.points(run)
                axes.plot(point[:, 0], point[:, 1], linestyle="none", marker=stroke.marker, markersize=3.5, **looks)
    if kind.is_log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def _losses(run: RunRecords) -> np.ndarray:
    return _thin([(step, record.loss) for step, record in steps_of(run).items()])


def _perplexities(run: RunRecords) -> np.ndarray:
    return _thin([(step, perplexity(record.loss)) for step, record in steps_of(run).items()])


def _validation(run: RunRecords) -> np.ndarray:
    return _thin(list({record.step: perplexity(record.loss) for record in run.validation}.items()))


def _validation_losses(run: RunRecords) -> np.ndarray:
    return _thin(list({record.step: record.loss for record in run.validation}.items()))


def _milliseconds(run: RunRecords) -> np.ndarray:
    return _thin([(step, 1000 * record.seconds) for step, record in steps_of(run).items()])


def _thin(values: list[tuple[int, float]]) -> np.ndarray:
    """The same steps of both, for both are thinned alike; the first and the last stay."""
    every = max(1, len(values) // MOST_POINTS)
    kept = [*values[::every], *(values[-1:] if (len(values) - 1) % every else ())]
    return np.array(kept, dtype=np.float64).reshape(-1, 2)


KINDS = (
    Kind("loss", "Loss a step (line) and of validation (marks)", "loss (nats per token)", _losses, _validation_losses),
    Kind("perplexity", "Perplexity a step (line) and of validation (marks)", "perplexity", _perplexities, _validation,
         is_log=True),
    Kind("ms", "Milliseconds a step", "ms a step", _milliseconds, is_log=True),
)  # fmt: skip
