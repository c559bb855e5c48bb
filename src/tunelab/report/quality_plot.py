"""The figures of quality against a cost: a point with its interval a method, the base a line, the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunelab.entries import BASE
from tunelab.report.drawing import INK, Look, hover, legend, tip
from tunelab.report.frame import Group, Row
from tunelab.report.labelling import LABEL_GAP, LETTER_WIDTH, Spot, free_labels
from tunelab.report.numbers import in_unit, interval, memory_unit, number, score_decimals, time_unit
from tunelab.report.spending import kind_of
from tunelab.significance.beside_best import Word

SIZE = (3.35, 2.6)
"""Inches, without the further lines of a legend: a column of a paper, a third of the page."""

FILLED: dict[Word | None, Literal["full", "left", "none"]] = {
    "as good": "full", "undecided": "left", "worse": "none", None: "full",
}  # fmt: skip
"""How a point says what its method is beside the best."""
WORDS = "filled: as good; half: undecided; open: worse"
FRONT = "thin line: Pareto front of the means"

NEAR = 0.4
"""Of the axis: a base that is further off is named, and not drawn."""

CostOfQuality = Literal["memory", "time"]


class NamedPoint(NamedTuple):
    """A method in a figure of quality against cost."""

    method: str
    across: float
    up: float
    low: float
    high: float
    handle: Any
    """What a legend shows of it."""


def quality_figure(group: Group, look: dict[str, Look], cost: CostOfQuality, on: str) -> Figure | None:
    """The first metric with its interval against what it costs; the base is a line. `on` ends the title."""
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
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    decimals = score_decimals([row.scores[metric].mean for row in group.rows if metric in row.scores])
    points = [_point(axes, spent / unit.size, row, metric, look[row.method]) for row, spent in rows]
    axes.margins(x=0.16, y=0.14)
    _leave_room_at_zero(axes)
    _base_line(axes, group, metric, look[BASE])
    _name_points(figure, axes, points, look)
    higher = group.higher_is_better(metric)
    _margin_band(axes, group, metric)
    has_front = _draw_front(axes, points, higher=higher)
    for (row, spent), point in zip(rows, points, strict=True):
        cell = row.scores[metric]
        score = interval(cell.mean, cell.low, cell.high, decimals)
        word = f", {cell.word}" if cell.word else ""
        hover(axes, point.across, point.up, f"{row.method}: {metric} {score}{word}; {in_unit(spent, unit)} {unit.name}")
    told = [*([WORDS] if any(row.scores[metric].word for row, _ in rows) else []), *([FRONT] if has_front else [])]
    axes.set(
        xlabel="\n".join([f"{kind_of(cost, group).name} ({unit.name})", *told]),
        ylabel=f"{metric} ({'higher' if higher else 'lower'} is better)", title=f"Quality against {cost}{on}",
    )  # fmt: skip
    return figure


def front(points: Sequence[tuple[float, float]], *, higher: bool) -> list[tuple[float, float]]:
    """Of (cost, quality) those that no other is at least equal to in both and better in one; the cheapest first."""
    kept: list[tuple[float, float]] = []
    for cost, quality in sorted(set(points), key=lambda point: (point[0], -point[1] if higher else point[1])):
        if not kept or (quality > kept[-1][1] if higher else quality < kept[-1][1]):
            kept.append((cost, quality))
    return kept


def reference_line(
    axes: Axes, value: float, look: Look, *, said: str, span: tuple[float, float] | None = None, falling: bool = False
) -> None:  # fmt: skip
    """A line at the base's value; one so far off that it would squeeze the methods is named at the edge instead, on the
    side where `falling` curves are not."""
    bottom, top = axes.get_ylim()
    if bottom - NEAR * (top - bottom) <= value <= top + NEAR * (top - bottom):
        line = axes.axhline(value, color=look.colour, linestyle=look.dash, linewidth=1)
        line.set_gid(tip(said))
        if span is not None:
            axes.axhspan(*span, color=look.colour, alpha=0.07, linewidth=0)
        axes.text(0.99, value, BASE, transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=7)
        return
    arrow, up, side = ("↓", 0.02, "bottom") if value < bottom else ("↑", 0.98, "top")
    across, edge = (0.01, "left") if falling and value < bottom else (0.99, "right")
    axes.text(across, up, f"{said} {arrow}", transform=axes.transAxes, ha=edge, va=side, fontsize=7)


def _leave_room_at_zero(axes: Axes) -> None:
    """No cost is below zero, but a marker at zero is as wide as any other."""
    left, right = axes.get_xlim()
    if left < 0:
        axes.set_xlim(left=-0.04 * right)
        axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= right])


def _draw_front(axes: Axes, points: Sequence[NamedPoint], *, higher: bool) -> bool:
    """What is to be had at most for each cost, as a stair; whether there is one."""
    kept = front([(point.across, point.up) for point in points], higher=higher)
    if len(points) < 2:
        return False
    right = axes.get_xlim()[1]
    across, up = [*(cost for cost, _ in kept), right], [*(quality for _, quality in kept), kept[-1][1]]
    axes.step(across, up, where="post", color=INK, alpha=0.45, linewidth=0.8, zorder=1, scalex=False, scaley=False)
    return True


def _base_line(axes: Axes, group: Group, metric: str, look: Look) -> None:
    cell = next((row.scores[metric] for row in group.rows if row.method == BASE and metric in row.scores), None)
    if cell is None or cell.mean is None:
        return
    said = f"{BASE}: {number(cell.mean, score_decimals([cell.mean, axes.get_ylim()[1]]))}"
    span = None if cell.low is None or cell.high is None else (cell.low, cell.high)
    reference_line(axes, cell.mean, look, said=said, span=span)


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


def _name_points(figure: Figure, axes: Axes, points: Sequence[NamedPoint], look: dict[str, Look]) -> None:
    """Labels beside the points where they fit without touching anything, else a legend."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    spots = [
        Spot(
            across=(point.across - left) / (right - left), up=(point.up - bottom) / (top - bottom),
            low=(point.low - bottom) / (top - bottom), high=(point.high - bottom) / (top - bottom),
            width=LETTER_WIDTH * len(look[point.method].label) + LABEL_GAP,
        )
        for point in points
    ]  # fmt: skip
    if not free_labels(spots):
        legend(figure, {look[point.method].label: point.handle for point in points}, columns=3)
        return
    for point, spot in zip(points, spots, strict=True):
        axes.annotate(
            look[point.method].label, (point.across, point.up), xytext=(6 * spot.side, 1), textcoords="offset points",
            fontsize=7.5, ha="left" if spot.side > 0 else "right", va="bottom",
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
