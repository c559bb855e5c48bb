"""The learning curves: training and validation loss against the step, one figure each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunelab.entries import BASE
from tunelab.report.drawing import Look, hover, legend, tip
from tunelab.report.frame import Group
from tunelab.report.numbers import number
from tunelab.report.quality_plot import SIZE, reference_line
from tunelab.report.reading import RunRecords

MOST_POINTS = 400
"""A curve is thinned to as many points; more cannot be seen."""
MOST_TOLD = 10
"""Points of a line that tell their values."""


class Kind(NamedTuple):
    title: str
    name: str
    """In a sentence."""
    read: Callable[[RunRecords], np.ndarray]
    """Step and loss, N x 2."""
    marked: bool


class Curves(NamedTuple):
    figure: Figure
    is_curve: bool
    """Whether any method has more than one point."""


def curve_figure(group: Group, look: dict[str, Look], kind: Kind, title: str) -> Curves | None:
    """The mean over the seeds where all of them have values; the band spans the seeds."""
    of_method = {row.method: [kind.read(run) for run in group.runs_of(row.method)] for row in group.rows}
    most = max((len(curve) for curves in of_method.values() for curve in curves), default=0)
    if not most:
        return None
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    handles = {}
    for method, curves in of_method.items():
        if handle := _curve(axes, curves, method, look[method], kind):
            handles[look[method].label] = handle
    axes.set(xlabel="optimizer step", ylabel="loss (nats per token)", title=title)
    last = max(curve[-1, 0] for curves in of_method.values() for curve in curves if len(curve))
    axes.margins(y=0.1)
    axes.set_xlim(left=-0.02 * last if most > 1 else 0.0, right=1.03 * last if most > 1 else 1.3 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.ticklabel_format(axis="y", useOffset=False)
    base = [run.result.validation_loss for run in group.runs_of(BASE) if run.result.validation_loss is not None]
    if base and kind.marked:
        mean = float(np.mean(base))
        reference_line(axes, mean, look[BASE], said=f"{BASE}: {number(mean, 3)}", falling=True)
    legend(figure, handles, columns=4)
    return Curves(figure, most > 1)


def _curve(axes: Axes, curves: list[np.ndarray], method: str, look: Look, kind: Kind):
    """What a legend shows of it; None: no seed has a value."""
    curves = [curve for curve in curves if len(curve)]
    if not curves:
        return None
    shared = np.array(sorted(set.intersection(*(set(curve[:, 0]) for curve in curves))))
    if not len(shared):
        return None
    values = np.array([curve[np.isin(curve[:, 0], shared), 1] for curve in curves])
    means, lows, highs = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    style = {"marker": look.marker, "markersize": 3 if len(shared) > 1 else 5} if kind.marked else {}
    line = axes.plot(shared, means, color=look.colour, linestyle=look.dash, clip_on=False, **style)[0]
    line.set_gid(tip(f"{method}: {kind.name}, at the end {number(means[-1], 4)}"))
    if len(curves) > 1:
        axes.fill_between(shared, lows, highs, color=look.colour, alpha=0.15, linewidth=0)
    for place in np.unique(np.linspace(0, len(shared) - 1, min(MOST_TOLD, len(shared))).round().astype(int)):
        seeds = f"; its {len(curves)} seeds {number(lows[place], 4)} to {number(highs[place], 4)}" * (len(curves) > 1)
        said = f"{method}: {kind.name} {number(means[place], 4)} at step {shared[place]:.0f}{seeds}"
        hover(axes, float(shared[place]), float(means[place]), said)
    return line


def _training(run: RunRecords) -> np.ndarray:
    """The moving average. A step that was done again after a restart counts once, as done last."""
    return _thin(list({record.step: record.ema_loss for record in run.steps}.items()))


def _validation(run: RunRecords) -> np.ndarray:
    return _thin(list({record.step: record.loss for record in run.validation}.items()))


def _thin(points: Sequence[tuple[int, float]]) -> np.ndarray:
    """The first and the last stay."""
    every = max(1, len(points) // MOST_POINTS)
    kept = [*points[::every], *(points[-1:] if (len(points) - 1) % every else ())]
    return np.array(kept, dtype=np.float64).reshape(-1, 2)


KINDS = (
    Kind("Training loss (moving average)", "training loss", _training, marked=False),
    Kind("Validation loss", "validation loss", _validation, marked=True),
)
