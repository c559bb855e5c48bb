"""Predicted peaks beside those that others have published, before a study starts."""

from __future__ import annotations

from tunelab.entries import Forecast
from tunelab.study.foresight.memory import Asked, study_memory
from tunelab.study.planning.planned import Plan

GB = 10**9
PARTS = ("weights", "gradients", "optimizer state", "kept for backward", "head")


def published_lines(plan: Plan) -> list[str]:
    """A line a method of which the study says what was published; on a GPU, in bf16 where the study leaves it open."""
    published = plan.study.published
    if not published:
        return []
    found = study_memory(plan, asked=Asked("cuda", 2**62)).methods
    lines = []
    for each in found:
        theirs = published.get(each.method)
        if theirs is None:
            continue
        ours = "not predicted" if each.forecast is None else _said(each.forecast)
        note = f". {theirs.note}" if theirs.note else ""
        lines.append(f"{each.method}: {theirs.peak_gb:g} GB were published; on a GPU {ours}{note}")
    return lines


def _said(told: Forecast) -> str:
    parts = {name: sum(size for part, size in told.train.items() if part.startswith(name)) for name in PARTS}
    shown = ", ".join(f"{name} {size / GB:.2f}" for name, size in parts.items() if size >= GB / 200)
    return f"{told.total('train') / GB:.2f} GB are predicted to be held while it trains ({shown})"
