"""The figures of a report: which there are, of which group, under which file name."""

from __future__ import annotations

import re
from typing import NamedTuple

from tunelab.entries import BASE
from tunelab.report.curves import KINDS, curve_figure
from tunelab.report.drawing import labels, looks, png, styled, svg
from tunelab.report.frame import Comparison
from tunelab.report.quality_plot import quality_figure
from tunelab.report.rate_plot import rate_figure
from tunelab.report.verdict import place


class Plot(NamedTuple):
    """One figure in both forms."""

    file: str
    """Its name under OUT/plots."""
    title: str
    png: bytes
    svg: str
    wide: bool
    in_summary: bool = False
    """Beside the verdict; the others come after the table."""


def draw_all(comparison: Comparison) -> dict[tuple[str, str, str], tuple[Plot, ...]]:
    """The figures of every group by the group's key; what has no data has no figure."""
    look = looks(list(dict.fromkeys(row.method for row in comparison.rows)), BASE)
    titles = {group.key: place(group, comparison.groups) for group in comparison.groups}
    short = labels(list(dict.fromkeys(titles.values())), 30)
    found, used = {}, set()
    with styled():
        for group in comparison.groups:
            title = titles[group.key]
            name_of, on = slug(title, used), f"\n{short[title]}" if len(comparison.groups) > 1 else ""
            training, validation = (curve_figure(group, look, kind, f"{kind.title}{on}") for kind in KINDS)
            # Of the two curves the summary shows that of unseen rows, where it is a curve.
            first = validation if validation is not None and validation.is_curve else training or validation
            drawn = [
                ("quality_memory", "Quality against memory", quality_figure(group, look, "memory", on)),
                ("quality_time", "Quality against time", quality_figure(group, look, "time", on)),
                ("training", "Training loss", training and training.figure),
                ("validation", "Validation loss", validation and validation.figure),
                ("search", "Learning rates tried", rate_figure(group, f"Learning rates tried{on}", look)),
            ]
            found[group.key] = tuple(
                Plot(
                    f"{name_of}_{kind}.png", f"{caption}, {title}", png(figure),
                    svg(figure, prefix=f"{name_of}_{kind}".replace(".", "-")), False,
                    kind.startswith("quality") or (first is not None and figure is first.figure),
                )
                for kind, caption, figure in drawn if figure is not None
            )  # fmt: skip
    return found


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
