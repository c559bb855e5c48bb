"""The figures of a report: learning curves, quality against memory, quality against time,
validation loss against the learning rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunelab.entries import BASE
from tunelab.report.drawing import INK, Look, looks, png, styled, svg
from tunelab.report.drawing import label as _label
from tunelab.report.drawing import legend as _legend
from tunelab.report.frame import Comparison, Group, Row
from tunelab.report.labelling import LABEL_GAP, LETTER_WIDTH, Spot, free_labels
from tunelab.report.numbers import Unit, memory_unit, number, score_decimals, time_unit
from tunelab.report.rate_plot import rate_figure
from tunelab.report.reading import RunRecords
from tunelab.report.spending import kind_of
from tunelab.report.verdict import place
from tunelab.significance.beside_best import Word

MOST_POINTS = 400
"""A curve is thinned to as many points; more cannot be seen."""


FILLED: dict[Word | None, Literal["full", "left", "none"]] = {
    "as good": "full", "undecided": "left", "worse": "none", None: "full",
}  # fmt: skip
"""How a point says what its method is beside the best."""
WORDS = "filled: as good; half: undecided; open: worse"


CostOfQuality = Literal["memory", "time"]


class Plot(NamedTuple):
    """One figure in both forms."""

    file: str
    """Its name under OUT/plots."""
    title: str
    png: bytes
    svg: str
    wide: bool


class NamedPoint(NamedTuple):
    """A method in a figure of quality against cost."""

    method: str
    across: float
    up: float
    low: float
    high: float
    handle: Any
    """What a legend shows of it."""


def draw_all(comparison: Comparison) -> dict[tuple[str, str, str], tuple[Plot, ...]]:
    """The figures of every group by the group's key; what has no data has no figure."""
    look = looks(list(dict.fromkeys(row.method for row in comparison.rows)), BASE)
    found, used = {}, set()
    with styled():
        for group in comparison.groups:
            title = place(group, comparison.groups)
            short = _label(title, 36)
            name_of = slug(title, used)
            drawn = {
                f"{name_of}_curves": (f"Learning curves, {title}", _curves(group, short, look), True),
                f"{name_of}_quality_memory": (
                    f"Quality and memory, {title}",
                    _quality(group, short, look, "memory"),
                    False,
                ),
                f"{name_of}_quality_time": (f"Quality and time, {title}", _quality(group, short, look, "time"), False),
                f"{name_of}_search": (f"Learning rates tried, {title}", rate_figure(group, short, look), False),
            }
            found[group.key] = tuple(
                Plot(f"{name}.png", caption, png(figure), svg(figure, prefix=name.replace(".", "-")), wide)
                for name, (caption, figure, wide) in drawn.items()
                if figure is not None
            )
    return found


def _curves(group: Group, title: str, look: dict[str, Look]) -> Figure | None:
    """Training loss (moving average) and validation loss against the step; the band spans the seeds."""
    training = {row.method: [_training(run) for run in group.runs_of(row.method)] for row in group.rows}
    validation = {row.method: [_validation(run) for run in group.runs_of(row.method)] for row in group.rows}
    if not any(len(curve) for curves in training.values() for curve in curves):
        return None
    figure = Figure(figsize=(6.9, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, curves in training.items():
        _curve(left, curves, method, look[method], marked=False)
    for method, curves in validation.items():
        _curve(right, curves, method, look[method], marked=True)
    base = [run.result.validation_loss for run in group.runs_of(BASE) if run.result.validation_loss is not None]
    if base:
        right.axhline(float(np.mean(base)), color=look[BASE].colour, linestyle=look[BASE].dash, label=_label(BASE))
    left.set(xlabel="optimizer step", ylabel="loss (nats per token)", title=f"{title}: training, moving average")
    right.set(xlabel="optimizer step", title=f"{title}: validation")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = {
        label: handle for axes in (left, right) for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    _legend(figure, handles, columns=5)
    return figure


def _training(run: RunRecords) -> np.ndarray:
    """Step and moving average, shape N x 2. A step that was done again after a restart counts once, as done last."""
    losses = list({record.step: record.ema_loss for record in run.steps}.items())
    every = max(1, len(losses) // MOST_POINTS)
    kept = [*losses[::every], *(losses[-1:] if (len(losses) - 1) % every else ())]
    return np.array(kept, dtype=np.float64).reshape(-1, 2)


def _validation(run: RunRecords) -> np.ndarray:
    losses = {record.step: record.loss for record in run.validation}
    return np.array(list(losses.items()), dtype=np.float64).reshape(-1, 2)


def _curve(axes: Axes, curves: list[np.ndarray], method: str, look: Look, *, marked: bool) -> None:
    """The mean over the seeds where all of them have values, and the span between them."""
    curves = [curve for curve in curves if len(curve)]
    if not curves:
        return
    shared = sorted(set.intersection(*(set(curve[:, 0]) for curve in curves)))
    values = np.array([curve[np.isin(curve[:, 0], shared), 1] for curve in curves])
    style = {"marker": look.marker, "markersize": 3} if marked else {}
    axes.plot(shared, values.mean(axis=0), color=look.colour, linestyle=look.dash, label=_label(method), **style)
    if len(curves) > 1:
        axes.fill_between(shared, values.min(axis=0), values.max(axis=0), color=look.colour, alpha=0.15, linewidth=0)


def _quality(group: Group, title: str, look: dict[str, Look], cost: CostOfQuality) -> Figure | None:
    """The first metric with its interval against what it costs; the base is a line."""
    if not group.metrics:
        return None
    metric = group.metrics[0]
    rows = [
        (row, spent)
        for row in group.rows
        if (spent := _cost(row, cost, in_all=group.compares_in_all)) is not None and row.scores[metric].mean is not None
    ]
    if not rows:
        return None
    unit = (memory_unit if cost == "memory" else time_unit)([spent for _, spent in rows])
    figure = Figure(figsize=(3.35, 2.6), layout="constrained")
    axes = figure.subplots()
    points = [_point(axes, spent / unit.size, row, metric, look[row.method]) for row, spent in rows]
    axes.margins(x=0.16, y=0.14)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    _base_line(axes, group, metric, look[BASE])
    _name_points(figure, axes, points)
    better = "higher" if group.higher_is_better(metric) else "lower"
    _margin_band(axes, group, metric)
    told = f"\n{WORDS}" if any(row.scores[metric].word for row, _ in rows) else ""
    axes.set(xlabel=_cost_label(cost, unit, group) + told, ylabel=f"{metric} ({better} is better)", title=title)
    return figure


def _base_line(axes: Axes, group: Group, metric: str, look: Look) -> None:
    """A line where the base is; a base so far off that it would squeeze the methods is named at the edge instead."""
    cell = next((row.scores[metric] for row in group.rows if row.method == BASE and metric in row.scores), None)
    if cell is None or cell.mean is None:
        return
    bottom, top = axes.get_ylim()
    inside = bottom - (top - bottom) <= cell.mean <= top + (top - bottom)
    if inside:
        axes.axhline(cell.mean, color=look.colour, linestyle=look.dash, linewidth=1)
        if cell.low is not None and cell.high is not None:
            axes.axhspan(cell.low, cell.high, color=look.colour, alpha=0.07, linewidth=0)
        axes.text(0.99, cell.mean, BASE, transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=7)
        return
    arrow, up, side = ("↓", 0.02, "bottom") if cell.mean < bottom else ("↑", 0.98, "top")
    text = f"{BASE}: {number(cell.mean, score_decimals([cell.mean, top]))} {arrow}"
    axes.text(0.99, up, text, transform=axes.transAxes, ha="right", va=side, fontsize=7)


def _margin_band(axes: Axes, group: Group, metric: str) -> None:
    """From the best mean as far as a method may fall behind and still be as good."""
    found = group.comparisons.get(metric)
    if found is None or found.margin is None or found.best is None or found.in_logarithms:
        return
    best = next(row.scores[metric].mean for row in group.rows if row.method == found.best)
    if best is None:
        return
    end = best - found.margin if group.higher_is_better(metric) else best + found.margin
    axes.axhspan(min(best, end), max(best, end), color=INK, alpha=0.06, linewidth=0)


def _name_points(figure: Figure, axes: Axes, points: Sequence[NamedPoint]) -> None:
    """Labels beside the points where they fit without touching anything, else a legend."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    spots = [
        Spot(
            across=(point.across - left) / (right - left), up=(point.up - bottom) / (top - bottom),
            low=(point.low - bottom) / (top - bottom), high=(point.high - bottom) / (top - bottom),
            width=LETTER_WIDTH * len(_label(point.method)) + LABEL_GAP,
        )
        for point in points
    ]  # fmt: skip
    if not free_labels(spots):
        _legend(figure, {_label(point.method): point.handle for point in points}, columns=2)
        return
    for point, spot in zip(points, spots, strict=True):
        axes.annotate(
            _label(point.method), (point.across, point.up), xytext=(6 * spot.side, 0), textcoords="offset points",
            fontsize=7.5, ha="left" if spot.side > 0 else "right", va="center",
        )  # fmt: skip


def _point(axes: Axes, across: float, row: Row, metric: str, look: Look) -> NamedPoint:
    cell, mean = row.scores[metric], row.scores[metric].mean
    assert mean is not None, f"{row.method} has no {metric}"
    low = mean if cell.low is None else min(cell.low, mean)
    high = mean if cell.high is None else max(cell.high, mean)
    handle = axes.errorbar(
        [across], [mean], yerr=[[mean - low], [high - mean]], color=look.colour, marker=look.marker,
        markersize=5, capsize=2.5 if high > low else 0, elinewidth=1, linestyle="none", fillstyle=FILLED[cell.word],
    )  # fmt: skip
    return NamedPoint(row.method, across, mean, low, high, handle)


def _cost(row: Row, cost: CostOfQuality, *, in_all: bool) -> float | None:
    if in_all:
        return row.peak_train_all_gib if cost == "memory" else row.train_device_seconds
    return row.peak_train_gib if cost == "memory" else row.train_seconds


def _cost_label(cost: CostOfQuality, unit: Unit, group: Group) -> str:
    return f"{kind_of(cost, group).name} ({unit.name})"


def slug(title: str, used: set[str]) -> str:
    """A file name from any task name, never the same twice."""
    plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "task"
    found = next(
        name
        for number in range(1, len(used) + 2)
        if (name := plain if number == 1 else f"{plain}-{number}") not in used
    )
    used.add(found)
    return found
