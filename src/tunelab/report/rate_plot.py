"""The figure of a search: validation loss against the learning rate, for every method with more than one candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tunelab.report.drawing import Look, hover, legend, tip
from tunelab.report.frame import Group
from tunelab.report.numbers import number, rate, setting_text
from tunelab.report.reading import RunRecords
from tunelab.report.search import candidates, winner

SPREAD = 5.0
"""Losses further apart than this factor are drawn on a logarithmic axis, so that a bad candidate flattens nothing."""


def rate_figure(group: Group, title: str, look: dict[str, Look]) -> Figure | None:
    """A ring around the winner; a cross at the upper edge, without a loss, where a candidate diverged."""
    searched = {row.method: found for row in group.rows if (found := candidates(group, row.method))}
    losses = [loss for runs in searched.values() for run in runs if (loss := _loss(run)) is not None]
    if not losses:
        return None
    figure = Figure(figsize=(3.35, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats per token)", title=title)
    rates = [_rate(run) for runs in searched.values() for run in runs]
    _plain_ticks(axes.xaxis, spread=max(rates) / min(rates))
    if max(losses) > SPREAD * min(losses) > 0:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis, spread=max(losses) / min(losses))
    handles: dict[str, Any] = {}
    for method, runs in searched.items():
        settings = dict.fromkeys(run.entry.setting for run in runs)
        for setting in settings:  # a curve for each combination of what is searched beside the rate
            curve = _curve(axes, [run for run in runs if run.entry.setting == setting], look[method])
            handles.setdefault(look[method].label, curve)
        best = winner(group, method)
        if best is not None:
            handles["kept"] = _ring(axes, best, look[method])
        for run in runs:
            if run.state == "diverged":
                handles["diverged"] = _cross(axes, run, look[method])
            if (loss := _loss(run)) is not None:
                hover(axes, _rate(run), loss, f"{_said(run)}: validation loss {number(loss, 4)}{_won(run, best)}")
    axes.margins(x=0.12, y=0.16)
    last = {name: handles.pop(name) for name in ("kept", "diverged") if name in handles}
    legend(figure, handles | last, columns=3)
    return figure


def _plain_ticks(axis: Axis, *, spread: float) -> None:
    """Of a logarithmic axis: '3e-4' and '20' as in the tables, since text is never taken for mathematics here."""
    axis.set_major_locator(LogLocator(subs=[1.0] if spread > 30 else [1.0, 2.0, 5.0]))
    axis.set_major_formatter(FuncFormatter(lambda value, place: rate(value) if value < 0.01 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _said(run: RunRecords) -> str:
    more = setting_text(dict(run.entry.setting))
    return f"{run.entry.method} at learning rate {rate(_rate(run))}{f', {more}' if more else ''}"


def _won(run: RunRecords, best: RunRecords | None) -> str:
    return " (kept)" if run is best else ""


def _rate(run: RunRecords) -> float:
    assert run.entry.learning_rate is not None, "what has no rate is no candidate"
    return run.entry.learning_rate


def _loss(run: RunRecords) -> float | None:
    return run.result.validation_loss if run.state == "finished" else None


def _curve(axes: Axes, runs: Sequence[RunRecords], look: Look) -> Any:
    points = [(_rate(run), loss) for run in runs if (loss := _loss(run)) is not None]
    rates, losses = [each for each, _ in points], [loss for _, loss in points]
    style: dict[str, Any] = {"color": look.colour, "linestyle": look.dash, "marker": look.marker, "markersize": 4}
    return axes.plot(rates, losses, **style)[0]


def _ring(axes: Axes, best: RunRecords, look: Look) -> Any:
    loss = best.result.validation_loss
    assert loss is not None, "without one nothing wins"
    style: dict[str, Any] = {"color": look.colour, "linestyle": "none", "marker": "o", "markersize": 9}
    return axes.plot([_rate(best)], [loss], markerfacecolor="none", **style)[0]


def _cross(axes: Axes, run: RunRecords, look: Look) -> Any:
    style: dict[str, Any] = {"color": look.colour, "linestyle": "none", "marker": "x", "markersize": 5}
    style["gid"] = tip(f"{_said(run)}: diverged")
    return axes.plot([_rate(run)], [0.97], transform=axes.get_xaxis_transform(), clip_on=False, **style)[0]
