"""Figures: no label like another, no legend or marker cut, a Pareto front, values for whoever points at them."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from report.many_methods import labels as long_labels
from report.many_methods import write_many
from report.study_folder import METRICS, write_study
from tunelab.report.curves import KINDS, curve_figure
from tunelab.report.drawing import hover, labels, legend, looks, styled, svg
from tunelab.report.frame import build_comparison
from tunelab.report.plots import draw_all
from tunelab.report.quality_plot import front, quality_figure
from tunelab.report.tables import display_width


@pytest.mark.parametrize(
    "names",
    [
        ["lora " + "x" * 40 + f" {place} " + "y" * 40 for place in range(12)],
        ["x" * 100 + "a", "x" * 100 + "b", "short"],
        ["x" * 60, "x" * 61, "x" * 62],
        ["中" * 40, "中" * 41],
        list(long_labels(12, long=True)),
    ],
)
def test_no_two_names_are_shortened_to_the_same(names):
    short = labels(names)
    assert list(short) == names and len(set(short.values())) == len(names), short
    assert all(display_width(text) <= 32 for text in short.values())


def test_short_names_stay_as_they_are():
    assert labels(["lora r=4", "full", "_own"]) == {"lora r=4": "lora r=4", "full": "full", "_own": " _own"}


@pytest.mark.parametrize("long", [False, True])
def test_a_legend_of_twelve_methods_is_whole(long):
    with styled():
        figure = Figure(figsize=(3.35, 2.6), layout="constrained")
        axes = figure.subplots()
        names = labels(list(long_labels(12, long=long)))
        legend(figure, {names[name]: axes.plot([0, 1], [0, 1])[0] for name in names}, columns=4)
        figure.draw_without_rendering()
        (drawn,) = figure.legends
        box, page = drawn.get_window_extent(), figure.bbox
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0
        assert [text.get_text() for text in drawn.get_texts()].count("…") == 0 and len(drawn.get_texts()) == 12
        assert axes.get_window_extent().height / figure.dpi > 1.5, "the axes keep their size"


def test_what_is_pointed_at_tells_itself_and_cannot_break_out():
    with styled():
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        hover(axes, 0.5, 0.5, "a <b> \"c\" & 'd'\n</title><script>")
        drawing = svg(figure, prefix="x")
    assert "<title>a &lt;b&gt; &quot;c&quot; &amp; &apos;d&apos; &lt;/title&gt;&lt;script&gt;</title>" in drawing
    assert "<script>" not in drawing and 'id="x-tip:' not in drawing
    assert axes.lines[0].get_alpha() == 0


@pytest.mark.parametrize(
    ("points", "higher", "kept"),
    [
        ([(1, 0.5), (2, 0.7), (3, 0.6), (4, 0.9)], True, [(1, 0.5), (2, 0.7), (4, 0.9)]),
        ([(1, 0.5), (2, 0.7), (3, 0.4)], False, [(1, 0.5), (3, 0.4)]),
        ([(1, 0.5), (1, 0.7), (2, 0.7)], True, [(1, 0.7)]),
    ],
)
def test_the_front_is_what_nothing_beats_in_both(points, higher, kept):
    assert front(points, higher=higher) == kept


@pytest.fixture
def group(tmp_path):
    return build_comparison([write_study(tmp_path, tasks=("restaurants",), spoil=False)], metrics=METRICS).groups[0]


def test_the_front_is_drawn_through_the_means(group):
    with styled():
        figure = quality_figure(group, looks([row.method for row in group.rows], "base"), "memory", "")
    (axes,) = figure.axes
    (stair,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    means = {row.method: row.scores["rouge_l"].mean for row in group.rows}
    assert list(stair.get_ydata())[:-1] == [means["lora r=4"], means["lora r=8"], means["full"]]
    assert "Pareto front" in axes.get_xlabel()
    told = [line.get_gid() for line in axes.lines if line.get_alpha() == 0]
    assert len(told) == 3 and any(text.startswith("tip:full: rouge_l 0.") and "GiB" in text for text in told)


def test_a_marker_at_no_cost_is_whole(group):
    """full takes next to nothing, the others much more."""
    for name, cost in {"full": 0.001, "lora r=4": 60.0}.items():
        object.__setattr__(next(row for row in group.rows if row.method == name), "train_seconds", cost)
    with styled():
        figure = quality_figure(group, looks([row.method for row in group.rows], "base"), "time", "")
        figure.draw_without_rendering()
        (axes,) = figure.axes
        edge = axes.transData.transform((0.001, 0))[0] - axes.get_window_extent().x0
    assert edge > 2.5 / 72 * figure.dpi, "half a marker, in dots"
    assert min(axes.get_xticks()) >= 0


def test_a_validation_curve_of_one_point_has_plain_ticks(tmp_path):
    study = write_many(tmp_path, num_methods=2, steps=4, seeds=(0,))
    for entry in study.runs:
        path = tmp_path / "runs" / entry.id / "validation.jsonl"
        if path.exists():
            path.write_text(path.read_text().splitlines()[-1] + "\n")
    group = build_comparison([study], metrics=METRICS).groups[0]
    with styled():
        curves = curve_figure(group, looks([row.method for row in group.rows], "base"), KINDS[1], "")
        curves.figure.draw_without_rendering()
        (axes,) = curves.figure.axes
    assert not curves.is_curve
    low, high = axes.get_xlim()
    shown = [text.get_text() for tick, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
             if low <= tick <= high]  # fmt: skip
    assert low == 0 and "4" in shown and all(text.isdigit() for text in shown) and len(set(shown)) == len(shown)
    assert axes.yaxis.get_offset_text().get_text() == ""


@pytest.mark.slow
def test_the_summary_has_both_costs_and_a_curve(tmp_path):
    comparison = build_comparison([write_study(tmp_path, tasks=("restaurants",), spoil=False)], metrics=METRICS)
    (plots,) = draw_all(comparison).values()
    assert [plot.file.removeprefix("restaurants_") for plot in plots if plot.in_summary] == [
        "quality_memory.png", "quality_time.png", "validation.png",
    ]  # fmt: skip
